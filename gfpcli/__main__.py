"""`python -m gfpcli` is the same as `gfp`."""

from gfpcli.cli.app import main

if __name__ == "__main__":
    main()
