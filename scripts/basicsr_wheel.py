# /// script
# dependencies = ["unearth", "platformdirs", "pip", "setuptools", "wheel"]
# ///
"""On Python 3.13 and later, builds a wheel of basicsr into the cache folder, once, and prints its path.

basicsr is published as source only. Its setup.py runs a file with `exec` and then reads the version out of `locals()`,
which holds nothing of it since Python 3.13 (PEP 667), so that pip cannot build it there. The package itself runs: only
that one line is changed. The source is fetched by `unearth`, as pip would build what it downloads at once.
On earlier Pythons pip can build it, and nothing is printed.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from platformdirs import user_cache_path
from unearth import PackageFinder

VERSION = "1.4.2"
SHA256 = "b89b595a87ef964cda9913b4d99380ddb6554c965577c0c10cb7b78e31301e87"  # of basicsr-1.4.2.tar.gz on PyPI
FIRST_BROKEN = (3, 13)  # Python
PYPI = "https://pypi.org/simple/"  # the default of pip itself, where its settings name no other index
BROKEN = "locals()['__version__']"
MENDED = "__import__('runpy').run_path(version_file)['__version__']"
SECTIONS = ("global", "install", ":env:")  # of pip's configuration, the strongest last


def wheel_in(cache: Path, settings: dict[str, str], *, version: str = VERSION, sha256: str = SHA256) -> Path:
    """The wheel, built where it is not in the folder `cache` yet.

    Args:
        settings: pip's configuration, as `pip_settings` gives it.
        sha256: of the source package.

    Raises:
        RuntimeError: no index has a source package of this hash, or it does not hold the one line.
        subprocess.CalledProcessError: pip could not build it, or made another wheel.
    """
    wheel = cache / f"basicsr-{version}-py3-none-any.whl"
    if not zipfile.is_zipfile(wheel):
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as work:
            source = fetch(Path(work) / "source", settings, version, sha256)
            mend(source / "setup.py")
            build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", work, str(source)]
            subprocess.run([sys.executable, "-m", "pip", *build], check=True, stdout=sys.stderr)
            (Path(work) / wheel.name).replace(wheel)
    return wheel


def fetch(folder: Path, settings: dict[str, str], version: str, sha256: str) -> Path:
    """Downloads the source package of this hash and unpacks it into `folder`. Raises RuntimeError."""
    finder = PackageFinder(
        index_urls=[settings.get("index-url", PYPI), *settings.get("extra-index-url", "").split()],
        find_links=settings.get("find-links", "").split(), trusted_hosts=settings.get("trusted-host", "").split(),
        no_binary=["basicsr"],
    )  # fmt: skip
    found = finder.find_best_match(f"basicsr=={version}", hashes={"sha256": [sha256]}).best
    if found is None:
        raise RuntimeError(f"no index has the source package basicsr {version} with the SHA-256 {sha256}")
    folder.mkdir()
    return finder.download_and_unpack(found.link, folder)


def mend(setup: Path) -> None:
    """Changes the one line of setup.py that fails. Raises RuntimeError where it is not there once."""
    text = setup.read_text(encoding="utf-8")
    if text.count(BROKEN) != 1:
        raise RuntimeError(f"{setup}: does not hold {BROKEN} once: it is another release than this script was made for")
    setup.write_text(text.replace(BROKEN, MENDED), encoding="utf-8")


def pip_settings() -> dict[str, str]:
    """Where pip is set up to find packages: by its configuration files and `PIP_...` variables."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    return settings_in(listed)


def settings_in(listed: str) -> dict[str, str]:
    """What `pip config list` printed, by name; a stronger section replaces what a weaker one says."""
    pairs = [line.partition("=") for line in listed.splitlines()]
    return {
        name.removeprefix(f"{section}."): str(ast.literal_eval(value))
        for section in SECTIONS
        for name, _, value in pairs
        if name.startswith(f"{section}.")
    }


if __name__ == "__main__" and sys.version_info >= FIRST_BROKEN:
    made = wheel_in(user_cache_path("gfpcli", appauthor=False, opinion=False) / "wheels", pip_settings())
    sys.stdout.write(f"{made}\n")
