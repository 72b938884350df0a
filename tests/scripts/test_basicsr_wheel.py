"""The wheel of basicsr for Pythons on which pip cannot build its source package; with a package of the same fault."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "basicsr_wheel.py"
SETUP = """\
from setuptools import setup
version_file = 'basicsr/version.py'
def get_version():
    with open(version_file) as f:
        exec(compile(f.read(), version_file, 'exec'))
    return locals()['__version__']
setup(name='basicsr', version=get_version(), packages=['basicsr'])
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    pytest.importorskip("unearth")
    found = importlib.util.spec_from_file_location("basicsr_wheel", SCRIPT)
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def made_index(folder: Path, setup: str = SETUP) -> tuple[dict[str, str], str]:
    """An index of one source package in `folder`, as pip's settings name it; and the package's SHA-256."""
    files = {"setup.py": setup, "basicsr/__init__.py": "", "basicsr/version.py": "__version__ = '1.0'\n"}
    place = folder / "simple" / "basicsr"
    place.mkdir(parents=True)
    package = place / "basicsr-1.0.tar.gz"
    with tarfile.open(package, "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"basicsr-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    (place / "index.html").write_text(f'<a href="{package.name}#sha256={digest}">{package.name}</a>')
    return {"index-url": (folder / "simple").as_uri()}, digest


def test_the_wheel_is_built_once(script: ModuleType, tmp_path: Path) -> None:
    settings, digest = made_index(tmp_path)
    wheel = script.wheel_in(tmp_path / "cache", settings, version="1.0", sha256=digest)
    with zipfile.ZipFile(wheel) as archive:
        assert "basicsr/version.py" in archive.namelist()
        assert b"Version: 1.0\n" in archive.read("basicsr-1.0.dist-info/METADATA")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["basicsr-1.0-py3-none-any.whl"]
    nowhere = {"index-url": "file:///nowhere"}
    assert script.wheel_in(tmp_path / "cache", nowhere, version="1.0", sha256=digest) == wheel
    wheel.write_bytes(wheel.read_bytes()[:100])
    assert zipfile.is_zipfile(script.wheel_in(tmp_path / "cache", settings, version="1.0", sha256=digest))


def test_a_package_of_another_hash_is_not_built(script: ModuleType, tmp_path: Path) -> None:
    settings, _ = made_index(tmp_path)
    with pytest.raises(RuntimeError, match="no index has the source package basicsr 1.0"):
        script.wheel_in(tmp_path / "cache", settings, version="1.0", sha256="0" * 64)
    assert not list((tmp_path / "cache").iterdir())


def test_another_fault_than_the_known_one_is_named(script: ModuleType, tmp_path: Path) -> None:
    settings, digest = made_index(tmp_path, SETUP.replace("locals()", "vars()"))
    with pytest.raises(RuntimeError, match="does not hold locals"):
        script.wheel_in(tmp_path / "cache", settings, version="1.0", sha256=digest)


def test_pip_s_settings_are_read_the_strongest_last(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = "global.index-url='https://a/simple'\ninstall.index-url='https://b'\nglobal.extra-index-url='x\\ny'\n"
    assert dict(script.settings_in(listed)) == {"index-url": "https://b", "extra-index-url": "x\ny"}
    monkeypatch.setenv("PIP_INDEX_URL", "https://c/simple")
    assert script.pip_settings()["index-url"] == "https://c/simple"
