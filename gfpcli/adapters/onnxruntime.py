"""ONNX files run by onnxruntime behind our ports: face restorers of any origin, the other parts as gfp exports them.

What gfp exports says in the file's metadata what it is (`ExportFacts`). A face restorer of another origin is taken by
its shape, the one that face tools share: one (N, 3, S, S) RGB input in [-1, 1], an optional scalar `weight`, and a
face of at least that size out.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import CheckpointError, DeviceError, UsageError, WeightsError
from gfpcli.model.views import VIEW_SIZE
from gfpcli.pipeline.retinaface import Anchors
from gfpcli.types import ExportFacts, PictureBatch

NEEDS_ONNXRUNTIME = "ONNX files need onnxruntime: pip install 'gfpcli[onnx]'"
NUMPY_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
LEAST_SIDE, LARGEST_SIDE = 256, 2048  # px of a face that a network of another origin takes or gives
USUAL_SIDE = 512  # px, of a network that takes any size
USUAL_FIDELITY = 0.5  # what a `weight` input is fed where nothing is asked for (CodeFormer's own default)
SUFFIX = "ExecutionProvider"  # of onnxruntime's names of providers
NOT_TAKEN = ("Azure", "Tensorrt", "NvTensorRTRTX")  # only if asked for: far away, or slow to start
ALIASES = {"directml": "dml"}
LEAST = {"image": 32, "view": VIEW_SIZE}  # px of the smallest picture that a detector's networks take
N_ELSEWHERE = 4  # faces in one call of a provider whose memory nobody tells; fewer where they do not fit
QUIET = 4  # onnxruntime's log level: fatal errors only; what it raises is told by us


@dataclass(frozen=True, slots=True)
class OnnxNet:
    """A file ready to run. Nothing of a call is kept."""

    session: Any
    path: Path
    facts: ExportFacts | None  # None: not exported by gfp

    def run(self, given: Mapping[str, NDArray[Any]], wanted: Sequence[str]) -> list[NDArray[np.float32]]:
        """The wanted outputs as float32; what is given is cast to the types that the file takes.

        Raises:
            RuntimeError: onnxruntime fails; its text tells where memory ran out.
        """
        types = {each.name: NUMPY_TYPES[each.type] for each in self.session.get_inputs()}
        feeds = {name: np.ascontiguousarray(value, types[name]) for name, value in given.items()}
        try:
            outputs = self.session.run(list(wanted), feeds)
        except Exception as error:  # onnxruntime's own kinds share no base but Exception
            raise RuntimeError(f"{self.path.name}: {_one_line(error)}") from error
        return [np.asarray(each, np.float32) for each in outputs]


def open_onnx(path: Path, *, provider: str = "auto", device: str = "auto") -> OnnxNet:
    """A session on the wanted provider, with as many threads as OpenCV and OMP_NUM_THREADS allow.

    Args:
        provider: as `--provider`. `auto` follows `device`: onnxruntime's own order, for `cpu` and `cuda` that one.

    Raises:
        CheckpointError: the file is missing, or no ONNX that onnxruntime can run.
        DeviceError: this installation of onnxruntime has no such provider.
        WeightsError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise WeightsError(f"{path}: {NEEDS_ONNXRUNTIME} ({error})") from error
    names = choose_providers(onnxruntime.get_available_providers(), provider, device)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = QUIET
    settings.intra_op_num_threads = _n_threads()
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), settings, providers=names)
    except Exception as error:  # as in `OnnxNet.run`; it also reads what is damaged
        raise CheckpointError(f"{path}: not an ONNX file that onnxruntime can run: {_one_line(error)}") from error
    if provider != "auto" and session.get_providers()[0] != _name_of(names[0]):
        raise DeviceError(f"--provider {provider}: onnxruntime has it, but it does not start on this machine")
    _check_types(path, session)
    return OnnxNet(session, path, read_facts(path, session.get_modelmeta().custom_metadata_map))


def _n_threads() -> int:
    """As many as this process may use: Ray's workers and `gfp bench` set OpenCV's number, OMP_NUM_THREADS torch's."""
    most = os.environ.get("OMP_NUM_THREADS", "")
    return min(cv2.getNumThreads(), int(most)) if most.isdecimal() and int(most) else cv2.getNumThreads()


def write_int8(source: Path, target: Path, examples: Sequence[Mapping[str, NDArray[np.float32]]]) -> None:
    """Writes an ONNX file with its convolutions in int8: weights by output channel, activations by their range.

    The graph is simplified first: where the exporter lets several convolutions share one bias, onnxruntime would leave
    them in fp32.

    Args:
        examples: inputs by name, whose activations show the ranges (static quantisation).

    Raises:
        WeightsError: onnx or onnxruntime is not installed.
    """
    try:
        import onnx
        from onnxruntime import quantization as quantisation
    except ImportError as error:
        raise WeightsError(f"{source}: {NEEDS_ONNXRUNTIME} ({error})") from error
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # its advice on the graph
    try:
        with TemporaryDirectory() as folder:
            simple = Path(folder) / "simple.onnx"
            _write_simplified(source, simple)
            quantisation.quantize_static(
                simple, target, _Examples(iter(examples)), quant_format=quantisation.QuantFormat.QDQ,
                op_types_to_quantize=["Conv"], per_channel=True, activation_type=quantisation.QuantType.QUInt8,
                weight_type=quantisation.QuantType.QInt8,
            )  # fmt: skip
    finally:
        logging.disable(before)
    made = onnx.load(str(target))
    told = {each.key: each.value for each in onnx.load(str(source)).metadata_props}
    onnx.helper.set_model_props(made, {**told, "gfpcli.precision": "int8"})
    onnx.save(made, str(target))


def _write_simplified(source: Path, target: Path) -> None:
    """The same network with its constants worked out and without nodes that do nothing, for any processor."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = QUIET
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(source), settings, providers=[f"CPU{SUFFIX}"])


class _Examples:
    """What onnxruntime's calibration asks for, by the shape of its `CalibrationDataReader`."""

    def __init__(self, examples: Iterator[Mapping[str, NDArray[np.float32]]]) -> None:
        self.examples = examples

    def get_next(self) -> Mapping[str, NDArray[np.float32]] | None:
        return next(self.examples, None)


def choose_providers(available: Sequence[str], provider: str, device: str) -> list[Any]:
    """What onnxruntime is told to use, best first; the CPU comes last, for what the others cannot do.

    Raises:
        DeviceError: the wanted provider is not among the available ones; lists those.
    """
    kind, _, number = device.partition(",")[0].partition(":")
    wanted = provider.lower() if provider != "auto" else {"cpu": "cpu", "cuda": "cuda"}.get(kind, "auto")
    by_word = {name.removesuffix(SUFFIX).lower(): name for name in available}
    if wanted == "auto":
        return [name for name in available if name.removesuffix(SUFFIX) not in NOT_TAKEN]
    found = by_word.get(ALIASES.get(wanted, wanted))
    if found is None:
        raise DeviceError(f"--provider {wanted}: onnxruntime has here: {', '.join(by_word)}")
    first: Any = (found, {"device_id": number}) if number else found
    return [first, *(name for name in available if name == f"CPU{SUFFIX}" != found)]


def _name_of(provider: Any) -> str:
    return str(provider[0] if isinstance(provider, tuple) else provider)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _check_types(path: Path, session: Any) -> None:
    """Raises CheckpointError for a file that takes or gives what is no number with a point."""
    for each in (*session.get_inputs(), *session.get_outputs()):
        if each.type not in NUMPY_TYPES:
            raise CheckpointError(f"{path}: {each.name!r} is {each.type}; gfp knows {', '.join(NUMPY_TYPES)}")


def read_facts(path: Path, metadata: Mapping[str, str]) -> ExportFacts | None:
    """What gfp wrote into a file when it exported it; None for a file of another origin. Raises CheckpointError."""
    try:
        return ExportFacts.from_metadata(metadata)
    except ValueError as error:
        raise CheckpointError(f"{path}: its gfpcli metadata are damaged ({error}); export it again") from error


def open_part(path: Path, kind: str, *, provider: str, device: str) -> tuple[OnnxNet, ExportFacts]:
    """A part other than a restorer, as `gfp export` makes it.

    Raises:
        CheckpointError: the file holds something else, or was not exported by gfp.
        DeviceError, WeightsError: as `open_onnx`.
    """
    net = open_onnx(path, provider=provider, device=device)
    if net.facts is None:
        raise CheckpointError(f"{path}: not made by `gfp export`, as {kind}s must be: there is no standard")
    if net.facts.kind != kind:
        raise CheckpointError(f"{path}: its kind is {net.facts.kind}, not {kind}")
    return net, net.facts


@dataclass(frozen=True, slots=True)
class FaceContract:
    """How a face network is called, as its file's inputs and outputs say."""

    picture: str  # name of the input
    weight: str | None  # name of the scalar input
    weight_shape: tuple[int, ...]
    output: str
    side: int | None  # px that it takes; None: any
    made_side: int | None  # px that it gives; None: only a run tells
    is_batched: bool  # takes several faces at once


def face_contract(path: Path, session: Any) -> FaceContract:
    """Reads the contract. Raises CheckpointError, one line that says what is taken instead."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    pictures = [each for each in inputs if len(each.shape) == 4]
    scalars = [each for each in inputs if each.shape in ([], [1]) and each.name == "weight"]
    taken = ", ".join(f"{each.name} {_shown_type(each.shape)}" for each in inputs)
    if len(pictures) != 1 or len(pictures) + len(scalars) != len(inputs):
        raise CheckpointError(f"{path}: takes {taken}; a face restorer takes one (N, 3, S, S) picture, and may take a "
                              "scalar `weight`")  # fmt: skip
    batch, channels, height, width = pictures[0].shape
    if channels != 3 or _side(height) != _side(width) or _side(batch) not in (None, 1):
        raise CheckpointError(f"{path}: takes {taken}, not (N, 3, S, S): RGB, square, one face or any number")
    made = outputs[0]
    if len(made.shape) != 4 or _side(made.shape[1]) not in (None, 3):
        raise CheckpointError(f"{path}: gives {made.name} {_shown_type(made.shape)}, not a picture (N, 3, S, S)")
    weight = scalars[0] if scalars else None
    return FaceContract(
        pictures[0].name, weight.name if weight else None, tuple(weight.shape) if weight else (), made.name,
        _side(height), _side(made.shape[2]), _side(batch) is None,
    )  # fmt: skip


def _side(length: object) -> int | None:
    """A length that is fixed; the others have a name, or none."""
    return length if isinstance(length, int) and length > 0 else None


def _shown_type(shape: Sequence[object]) -> str:
    return f"({', '.join(str(each) if each else '?' for each in shape)})"


@dataclass(frozen=True, slots=True)
class OnnxFaceModel:
    """A face network behind the `FaceModel` port.

    Where it gives a larger face than it takes, crops are cut at the larger size and made smaller for it: what is
    pasted then has all the detail that it made.
    """

    net: OnnxNet
    contract: FaceContract
    size: int  # px of crops and of restored faces
    seen: int  # px that the network takes
    weight: float  # 0..1, fed where it takes one

    @property
    def n_batch(self) -> int:
        """Faces in one call: one on the CPU, where several are no faster."""
        return 1 if self.net.session.get_providers()[0] == f"CPU{SUFFIX}" else N_ELSEWHERE

    def __call__(self, faces: PictureBatch, /) -> PictureBatch:
        """(N, 3, S, S) RGB in [-1, 1], to the same. Raises RuntimeError as `OnnxNet.run`."""
        shown = faces if self.size == self.seen else _smaller(faces, self.seen)
        step = len(shown) if self.contract.is_batched else 1
        return np.concatenate([self._run(shown[start : start + step]) for start in range(0, len(shown), step)])

    @property
    def computes_in(self) -> str:
        """Runtime and precision."""
        return f"onnxruntime {self.net.facts.precision}" if self.net.facts else "onnxruntime"

    def _run(self, faces: PictureBatch) -> PictureBatch:
        given: dict[str, NDArray[Any]] = {self.contract.picture: faces}
        if self.contract.weight:
            given[self.contract.weight] = np.full(self.contract.weight_shape, self.weight)
        (made,) = self.net.run(given, [self.contract.output])
        if made.shape != (len(faces), 3, self.size, self.size):
            raise RuntimeError(f"{self.net.path.name}: gave {made.shape}, not faces of {self.size} px")
        return made


def _smaller(faces: PictureBatch, side: int) -> PictureBatch:
    """Faces at `side` px, by area means."""
    small = [cv2.resize(face.transpose(1, 2, 0), (side, side), interpolation=cv2.INTER_AREA) for face in faces]
    return np.stack(small).astype(np.float32).transpose(0, 3, 1, 2)


def load_onnx_face_model(path: Path, *, provider: str, device: str, fidelity: float | None) -> OnnxFaceModel:
    """A face network from an ONNX file, ready to run.

    Args:
        fidelity: 0..1, fed to its `weight`.

    Raises:
        CheckpointError: the file takes or gives something else than a face restorer does.
        UsageError: `fidelity` is asked for and the network has no such input.
        DeviceError, WeightsError: as `open_onnx`.
    """
    net = open_onnx(path, provider=provider, device=device)
    if net.facts and net.facts.kind != "restorer":
        raise CheckpointError(f"{path}: holds a {net.facts.kind}, not a face restorer")
    contract = face_contract(path, net.session)
    check_has_weight(path, fidelity, contract.weight is not None)
    seen = contract.side or USUAL_SIDE
    weight = USUAL_FIDELITY if fidelity is None else fidelity
    size = contract.made_side or _made_side(net, contract, seen, weight)
    is_own = net.facts is not None
    if not (is_own or LEAST_SIDE <= seen <= LARGEST_SIDE) or not seen <= size <= LARGEST_SIDE:
        raise CheckpointError(f"{path}: takes {seen} px and gives {size} px; a face restorer takes {LEAST_SIDE} to "
                              f"{LARGEST_SIDE} px, and gives at least what it takes")  # fmt: skip
    return OnnxFaceModel(net, contract, size, seen, weight)


def check_has_weight(path: Path, fidelity: float | None, has_weight: bool) -> None:
    """Raises UsageError where a fidelity is asked of a network that cannot be told one."""
    if fidelity is not None and not has_weight:
        raise UsageError(f"--fidelity: {path} has no `weight` input (CodeFormer has); leave it out, or use --strength")


def _made_side(net: OnnxNet, contract: FaceContract, seen: int, weight: float) -> int:
    """The side of what comes out for a black face, where the file does not say. Raises CheckpointError."""
    given: dict[str, NDArray[Any]] = {contract.picture: np.zeros((1, 3, seen, seen))}
    if contract.weight:
        given[contract.weight] = np.full(contract.weight_shape, weight)
    try:
        (made,) = net.run(given, [contract.output])
    except RuntimeError as error:
        raise CheckpointError(f"{net.path}: does not run on a face of {seen} px: {error}") from error
    if made.ndim != 4:
        raise CheckpointError(f"{net.path}: gives {_shown_type(made.shape)}, not a picture (N, 3, S, S)")
    return int(made.shape[2])


@dataclass(frozen=True, slots=True)
class OnnxNetPart:
    """One of the two networks in a detector's file: an input, and the outputs that depend on it alone."""

    net: OnnxNet
    name: str  # of the input that is given
    outputs: tuple[str, ...]
    spare: dict[str, NDArray[np.float32]]  # a small picture for the other network: all inputs must be given

    def __call__(self, batch: PictureBatch, /) -> tuple[NDArray[np.float32], ...]:
        """(N, 3, H, W) to the outputs. Raises RuntimeError as `OnnxNet.run`."""
        return tuple(self.net.run({self.name: batch, **self.spare}, self.outputs))


def detector_nets(net: OnnxNet, facts: ExportFacts) -> tuple[OnnxNetPart, Anchors, OnnxNetPart | None]:
    """The detector's network with its anchors, and its landmark refiner's where the file has one.

    Raises:
        CheckpointError: the file does not tell its anchors.
    """
    try:
        anchors = Anchors.from_layout(json.loads(facts.layout))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{net.path}: its gfpcli metadata name no anchors; export it again") from error
    has_refiner = "landmarks" in {each.name for each in net.session.get_outputs()}
    refiner = _part_of(net, "view", ("landmarks", "logits")) if has_refiner else None
    return _part_of(net, "image", ("boxes", "scores", "points")), anchors, refiner


def _part_of(net: OnnxNet, name: str, outputs: tuple[str, ...]) -> OnnxNetPart:
    others = [each.name for each in net.session.get_inputs() if each.name in LEAST and each.name != name]
    spare = {each: np.zeros((1, 3, LEAST[each], LEAST[each]), np.float32) for each in others}
    return OnnxNetPart(net, name, outputs, spare)


@dataclass(frozen=True, slots=True)
class OnnxPictureNet:
    """A network with one picture in, and what is made of it out."""

    net: OnnxNet
    output: str

    def __call__(self, batch: PictureBatch, /) -> NDArray[np.float32]:
        """(N, 3, H, W) to (N, C, H', W'), or to (N, D). Raises RuntimeError as `OnnxNet.run`."""
        (made,) = self.net.run({"image": batch}, (self.output,))
        return made


@dataclass(frozen=True, slots=True)
class OnnxClassNet:
    """A face parser: (N, 3, H, W) RGB in [-1, 1] to the likeliest of its classes at each pixel."""

    net: OnnxNet

    def __call__(self, faces: PictureBatch, /) -> NDArray[np.int64]:
        """Raises RuntimeError as `OnnxNet.run`."""
        (classes,) = self.net.run({"image": faces}, ("classes",))
        return classes.argmax(axis=1)
