"""Weight files as data: where each comes from, its SHA-256 and licence, and one cache for all of them.

A download comes over https, goes to `NAME.part`, goes on where it was cut, and takes its name only when its hash is
right. The hash is looked at again whenever the file is taken from the cache.
Sources of the table: the official releases of GFPGAN, facexlib and Real-ESRGAN.

The standard library downloads: pooch neither goes on with a part nor refuses a redirection to http; requests and httpx
know no `file:`, and ranges, ETags, hashes and limits would be written here all the same.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any

from gfpcli.errors import ChecksumError, DownloadError, OutputError, WeightsError
from gfpcli.files.atomic import os_errors_as, prepare_file, sha256_of, write_bytes
from gfpcli.files.locking import hold
from gfpcli.files.storage import LOCAL
from gfpcli.weights.known_faces import GFPGAN_LICENCE, known_faces

GFPGAN_URL = "https://github.com/TencentARC/GFPGAN/releases/download"
FACEXLIB_URL = "https://github.com/xinntao/facexlib/releases/download"
ESRGAN_URL = "https://github.com/xinntao/Real-ESRGAN/releases/download"
TORCH_URL = "https://download.pytorch.org/models"
FID_URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
TIMEOUT_S = 15.0
LOCALHOST = ("localhost", "127.0.0.1", "::1")
BLOCK = 1 << 20  # bytes read at once
MAX_DOWNLOAD = 4 << 30  # bytes of a file whose size is not published
DIGITS = re.compile(r"-([0-9a-f]{8})\.pth$")  # in the names that PyTorch gives: the SHA-256 begins with them
BUILTIN = Path(__file__).parents[1] / "builtin"
RECORD = "recorded.json"  # hashes seen at the first download, where upstream publishes none

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all where known


@dataclass(frozen=True, slots=True)
class Weight:
    """One file of an official release; size and hash are None where they are not published."""

    name: str
    url: str
    licence: str
    size: int | None = None  # bytes
    sha256: str | None = None

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[1]

    @property
    def digits(self) -> str:
        """The first digits of the hash, where the file's name tells them."""
        found = DIGITS.search(self.file)
        return found[1] if found else ""


WEIGHTS = {
    weight.name: weight
    for weight in (
        Weight(
            "gfpgan-1.4", f"{GFPGAN_URL}/v1.3.0/GFPGANv1.4.pth", GFPGAN_LICENCE, 348632874,
            "e2cd4703ab14f4d01fd1383a8a8b266f9a5833dacee8e6a79d3bf21a1b6be5ad",
        ),
        Weight(
            "gfpgan-1.3", f"{GFPGAN_URL}/v1.3.0/GFPGANv1.3.pth", GFPGAN_LICENCE, 348632874,
            "c953a88f2727c85c3d9ae72e2bd4846bbaf59fe6972ad94130e23e7017524a70",
        ),
        Weight("gfpgan-1.2", f"{GFPGAN_URL}/v0.2.0/GFPGANCleanv1-NoCE-C2.pth", GFPGAN_LICENCE),
        Weight("gfpgan-1", f"{GFPGAN_URL}/v0.1.0/GFPGANv1.pth", GFPGAN_LICENCE),
        Weight(
            "retinaface-r50", f"{FACEXLIB_URL}/v0.1.0/detection_Resnet50_Final.pth", "MIT", 109497761,
            "6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
        ),
        Weight(
            "parsenet", f"{FACEXLIB_URL}/v0.2.2/parsing_parsenet.pth", "MIT", 85331193,
            "3d558d8d0e42c20224f13cf5a29c79eba2d59913419f945545d8cf7b72920de2",
        ),
        Weight(
            "realesrgan-x2", f"{ESRGAN_URL}/v0.2.1/RealESRGAN_x2plus.pth", "BSD-3-Clause", 67061725,
            "49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
        ),
        Weight(
            "realesrgan-x4", f"{ESRGAN_URL}/v0.1.0/RealESRGAN_x4plus.pth", "BSD-3-Clause", 67040989,
            "4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
        ),
        Weight(
            "realesr-general", f"{ESRGAN_URL}/v0.2.5.0/realesr-general-x4v3.pth", "BSD-3-Clause", 4885111,
            "8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292",
        ),
        Weight(
            "realesr-general-wdn", f"{ESRGAN_URL}/v0.2.5.0/realesr-general-wdn-x4v3.pth", "BSD-3-Clause", 4885111,
            "1641f8c4464b9f097c9fdda5589273713f67cf59f3d909e0bd688f0cee269dca",
        ),
        Weight(
            "stylegan2-ffhq", f"{GFPGAN_URL}/v0.1.0/StyleGAN2_512_Cmul1_FFHQ_B12G4_scratch_800k.pth", GFPGAN_LICENCE,
        ),
        Weight("arcface-r18", f"{GFPGAN_URL}/v0.1.0/arcface_resnet18.pth", GFPGAN_LICENCE),
        Weight("ffhq-components", f"{GFPGAN_URL}/v0.1.0/FFHQ_eye_mouth_landmarks_512.pth", GFPGAN_LICENCE),
        Weight("gfpgan-1-d", f"{GFPGAN_URL}/v0.1.0/GFPGANv1_net_d.pth", GFPGAN_LICENCE),
        Weight("gfpgan-1-d-left-eye", f"{GFPGAN_URL}/v0.1.0/GFPGANv1_net_d_left_eye.pth", GFPGAN_LICENCE),
        Weight("gfpgan-1-d-right-eye", f"{GFPGAN_URL}/v0.1.0/GFPGANv1_net_d_right_eye.pth", GFPGAN_LICENCE),
        Weight("gfpgan-1-d-mouth", f"{GFPGAN_URL}/v0.1.0/GFPGANv1_net_d_mouth.pth", GFPGAN_LICENCE),
        # torchvision's own `VGG19_Weights.IMAGENET1K_V1` and `VGG16_...`
        Weight("vgg19", f"{TORCH_URL}/vgg19-dcbb9e9d.pth", "BSD-3-Clause (torchvision)"),
        Weight("inception-fid", FID_URL, "Apache-2.0 (pytorch-fid)"),
        Weight("vgg16", f"{TORCH_URL}/vgg16-397923af.pth", "BSD-3-Clause (torchvision)"),
    )
}  # fmt: skip
BUILTINS = {
    "compact": BUILTIN / "compact.safetensors",
    "compact-512": BUILTIN / "compact-512.safetensors",
    "builtin": BUILTIN / "detector.safetensors",
    "compact-x2": BUILTIN / "compact-x2.safetensors",
    "identity": BUILTIN / "identity.safetensors",
}
BUILTIN_LICENCES = {"compact": "CC BY-NC-SA 4.0", "compact-512": "CC BY-NC-SA 4.0", "builtin": "CC BY-NC-SA 4.0",
                    "compact-x2": "Apache-2.0", "identity": "CC BY-NC-SA 4.0"}  # fmt: skip


def cache_folder() -> Path:
    """`GFP_HOME`, or the platform's cache folder for gfpcli. Not made here."""
    if home := os.environ.get("GFP_HOME"):
        return Path(home).expanduser()
    from platformdirs import user_cache_path  # here: most starts of the program need no cache

    return user_cache_path("gfpcli", appauthor=False, opinion=False)


def weight_of(name: str) -> Weight:
    """The table's entry. Raises WeightsError, which lists the names."""
    if name not in WEIGHTS:
        raise WeightsError(f"no weights called {name!r}: choose one of {', '.join(WEIGHTS)}")
    return WEIGHTS[name]


def licence_of(path: Path) -> str:
    """The licence of a weight file, known by its name, or as a file that gfp exported tells it."""
    built_in = {BUILTINS[name]: licence for name, licence in BUILTIN_LICENCES.items()}
    known = {weight.file: weight.licence for weight in WEIGHTS.values()}
    if found := built_in.get(path) or known.get(path.name):
        return found
    if path.suffix.lower() == ".onnx":
        from gfpcli.adapters.onnx import facts_in

        if facts := facts_in(path):
            return facts.licence
    family = known_faces(path)
    return family.licence if family else "its own (a file of yours)"


def cached(name: str) -> Path | None:
    """The file in the cache, None where it is not there. Its hash was checked when it was downloaded."""
    path = cache_folder() / weight_of(name).file
    return path if path.is_file() else None


def expected_hash(weight: Weight) -> str | None:
    """The pinned hash, else the one recorded at the first download, else the first digits that are pinned, else None.

    Either way the true hash starts with it.
    """
    recorded = _recorded().get(weight.file, "")
    return weight.sha256 or (recorded if recorded.startswith(weight.digits) else weight.digits) or None


def verify(name: str) -> bool | None:
    """Whether the cached file has its expected hash; None where it is not in the cache.

    Raises:
        WeightsError: no such name.
    """
    path, expected = cached(name), expected_hash(weight_of(name))
    return None if path is None else expected is not None and sha256_of(path).startswith(expected)


def ready(name: str) -> Path | None:
    """As `cached`, its hash looked at again.

    Raises:
        ChecksumError: the file is not what it should be: damaged, or another under this name.
        WeightsError: no such name, or the file cannot be read.
    """
    path = cached(name)
    expected = expected_hash(weight_of(name))
    if path is None or expected is None:
        return path
    with os_errors_as(WeightsError, path):
        digest = sha256_of(path)
    if not digest.startswith(expected):
        raise ChecksumError(f"{path}: has SHA-256 {digest}, not {expected}: run `gfp models pull {name}` to replace it")
    return path


def fetch(name: str, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """The file in the cache, downloaded first if needed. `GFP_MIRROR` replaces everything before the file's name.

    Raises:
        DownloadError: the network failed, or `offline` forbids it. What came so far is kept for the next try.
        ChecksumError: the bytes are not the pinned ones; a download that is wrong is removed.
        OutputError: the cache cannot be written.
    """
    weight = weight_of(name)
    if path := ready(name):
        return path
    if offline:
        raise DownloadError(
            f"{name} is not in {cache_folder()} and --offline is set: run `gfp models pull {name}` first"
        )
    path = cache_folder() / weight.file
    part = path.with_name(path.name + ".part")
    lock, busy = path.with_name(f".{path.name}.lock"), f"{part}: another gfp run is downloading it"
    with hold(lock, busy, is_patient=True):
        if not path.is_file():  # else the run that was waited for has it
            _accept(weight, _download(weight, part, progress), part, path)
    return path


def is_private(url: str) -> bool:
    """Whether nobody between can read or change what comes: https, a file, or this very machine."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme in ("https", "file") or parts.scheme == "http" and parts.hostname in LOCALHOST


class _OnlyPrivate(urllib.request.HTTPRedirectHandler):
    """Follows a redirection only to where `is_private` holds."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if not is_private(newurl) or newurl.startswith("file:"):
            fp.close()  # nobody else would
            raise urllib.error.URLError(f"it leads to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(weight: Weight, part: Path, progress: Progress | None) -> str:
    """Makes `part` whole and gives its SHA-256.

    What came before is gone on with only where it is known to be of the same file: by the expected hash, which is
    checked at the end, or by the server's ETag. A part that turns out to be of another file is begun anew.
    """
    mirror = os.environ.get("GFP_MIRROR")
    url = f"{mirror.rstrip('/')}/{weight.file}" if mirror else weight.url
    source = _Source(weight.name, url, weight.size or MAX_DOWNLOAD, part.with_name(f"{part.name}.etag"))
    expected = expected_hash(weight)
    with os_errors_as(OutputError, part):
        start = part.stat().st_size if part.exists() and (expected or source.etag()) else 0
        digest = sha256_of(part) if start and (_transfer(source, part, start, progress) or expected) else ""
        if not digest or not digest.startswith(expected or ""):
            _transfer(source, part, 0, progress)
            digest = sha256_of(part)
        source.tag_file.unlink(missing_ok=True)
    return digest


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a download comes from. Everything that goes wrong with the network raises DownloadError."""

    name: str  # of the weights
    url: str
    limit: int  # bytes
    tag_file: Path  # URL and ETag of what is in the part

    def etag(self) -> str | None:
        """The ETag of what is in the part; None where the server gave none, or another server did."""
        lines = self.tag_file.read_text(encoding="utf-8").split("\n") if self.tag_file.exists() else []
        return lines[1] if len(lines) == 2 and lines[0] == self.url else None

    def note_etag(self, etag: str) -> None:
        """For the next try. A weak one (W/) does not promise the same bytes and is not kept."""
        if etag.startswith('"'):
            write_bytes(self.tag_file, f"{self.url}\n{etag}".encode())

    def open(self, start: int) -> Any:
        """The server's answer, None where it has nothing from there on."""
        request = urllib.request.Request(self.url, headers={"User-Agent": "gfpcli"})
        if start:
            request.add_header("Range", f"bytes={start}-")
        if start and (etag := self.etag()):
            request.add_header("If-Range", etag)
        with self.network_errors():
            if not is_private(self.url):
                raise urllib.error.URLError("not https")
            try:
                return urllib.request.build_opener(_OnlyPrivate).open(request, timeout=TIMEOUT_S)
            except urllib.error.HTTPError as error:
                error.close()  # it holds the answer
                if start and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return None
                raise

    def blocks(self, response: Any) -> Iterator[bytes]:
        """What the server sends."""
        with self.network_errors():
            while block := response.read(BLOCK):
                yield block

    @contextmanager
    def network_errors(self) -> Iterator[None]:
        """Around nothing but the network: URLError, time-outs and errors of TLS are OSErrors, as a full disk is."""
        try:
            yield
        except (OSError, HTTPException) as error:
            reason = " ".join(str(getattr(error, "reason", error) or type(error).__name__).split())
            raise DownloadError(f"{self.name}: {self.url} could not be downloaded ({reason})") from error


def _transfer(source: _Source, part: Path, start: int, progress: Progress | None) -> bool:
    """Adds to `part` what is missing from byte `start` on, or makes it anew where the server sends the whole file.

    False, and nothing is changed, where the server cannot add to this part.
    """
    response = source.open(start)
    if response is None:
        return False
    with response:
        is_resumed = start > 0 and response.status == HTTPStatus.PARTIAL_CONTENT
        if is_resumed and not _fits(response.headers, start, source.etag()):
            return False
        if not is_resumed:
            source.tag_file.unlink(missing_ok=True)
            part.unlink(missing_ok=True)
            source.note_etag(response.headers.get("ETag", ""))
        done = start if is_resumed else 0
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        with part.open("ab") as file:
            for block in source.blocks(response):
                done += len(block)
                if done > source.limit:
                    LOCAL.remove(part)
                    raise ChecksumError(f"{source.name}: {source.url} is larger than {source.limit} bytes; removed")
                file.write(block)
                if progress:
                    progress(done, total)
    if total is not None and done < total:
        with source.network_errors():
            raise ConnectionError(f"cut after {done} of {total} bytes; run it again to go on")
    return True


def _fits(headers: HTTPMessage, start: int, etag: str | None) -> bool:
    """Whether a partial answer goes on where the part ends, and is of the same file as far as the server tells."""
    return headers.get("Content-Range", "").startswith(f"bytes {start}-") and headers.get("ETag", etag) in (etag, None)


def _accept(weight: Weight, digest: str, part: Path, path: Path) -> None:
    """Gives a download its name, if it is what it should be; its hash is recorded where none is published."""
    expected = expected_hash(weight)
    if expected and not digest.startswith(expected):
        LOCAL.remove(part)
        raise ChecksumError(f"{weight.file}: the download has SHA-256 {digest}, not {expected}; removed")
    if digest != expected:
        _record(weight.file, digest)
    prepare_file(part, path).publish()


def _recorded() -> dict[str, str]:
    """The hashes of first downloads, by the file's name."""
    try:
        known = json.loads((cache_folder() / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # none yet
    return {key: value for key, value in known.items() if isinstance(value, str)} if isinstance(known, dict) else {}


def _record(file: str, digest: str) -> None:
    """Adds a hash. Other downloads may do so at the same time."""
    path = cache_folder() / RECORD
    with hold(path.with_name(f".{RECORD}.lock"), f"{path}: another gfp run is writing it", is_patient=True):
        write_bytes(path, json.dumps({**_recorded(), file: digest}, indent=1).encode())
