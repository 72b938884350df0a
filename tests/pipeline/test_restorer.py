"""The stream with fakes for its ports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gfpcli.errors import InputError
from gfpcli.options import RestoreOptions
from gfpcli.pipeline.align import TEMPLATE_512, cut_crop
from gfpcli.pipeline.guard import Guard
from gfpcli.pipeline.paste import soft_masker
from gfpcli.pipeline.restorer import Restorer
from gfpcli.types import Crop, Face, Failed, Frame, Image, Mask, PictureBatch, Restored

Make = Callable[[int, int], NDArray[np.uint8]]
T = TypeVar("T")
FACES = tuple(Face(np.array([x, 20, x + 60, 90.0]), TEMPLATE_512 * 0.2 + (x - 20, 0), 0.9) for x in (30, 130))


class Model:
    """Brightens; notes the size of each batch."""

    size = 64

    def __init__(self, fail: Callable[[PictureBatch], None] | None = None) -> None:
        self.batches: list[int] = []
        self.fail = fail

    def __call__(self, faces: PictureBatch) -> PictureBatch:
        self.batches.append(len(faces))
        if self.fail:
            self.fail(faces)
        return faces + 0.5


def detect(images: Sequence[Image]) -> list[tuple[Face, ...]]:
    return [FACES if image.max() > 0 else () for image in images]


def restorer(model: Model, **options: object) -> Restorer:
    given = RestoreOptions(scale=1, **{"strength": "1", **options})  # type: ignore[arg-type]
    return Restorer(detect, model, soft_masker, given, guard=Guard(given.fixed_strength))


def frames(make: Make, n: int) -> list[Frame]:
    return [Frame(i, make(120, 240), f"frame {i}") for i in range(n)]


def test_faces_of_many_frames_share_a_batch_and_order_is_kept(smooth_image: Make) -> None:
    model = Model()
    empty = Frame(9, np.zeros((50, 60, 3), np.uint8), "empty")
    given = [*frames(smooth_image, 3), empty]
    out = list(restorer(model, batch_size=4).stream(given))
    assert model.batches == [4, 2]
    assert [each.frame.name for each in out] == [each.name for each in given]
    assert isinstance(out[0], Restored) and (out[0].image != given[0].image).any()
    assert isinstance(out[3], Restored) and (out[3].image == empty.image).all()


@pytest.mark.parametrize(("scale", "small_faces", "large_faces"), [(1, 2, 0), (2, 1, 1), (3, 0, 2)])
def test_a_face_takes_the_network_of_the_size_at_which_it_is_shown(
    smooth_image: Make, scale: float, small_faces: int, large_faces: int
) -> None:
    """The aligned squares have 77 and 38 px in the frame; the small network is good for 1.5 * 64 px of the result."""
    small, large = Model(), Model()
    large.size = 128
    faces = tuple(Face(FACES[0].box, TEMPLATE_512 * zoom + (20, 10), 0.9) for zoom in (0.15, 0.075))
    whole = replace(restorer(large, batch_size=4), small_model=small, detector=lambda _: [faces])
    whole = replace(whole, options=replace(whole.options, scale=scale))
    out = whole.restore(frames(smooth_image, 1)[0])
    assert (sum(small.batches), sum(large.batches)) == (small_faces, large_faces)
    sizes = [128 - 64 * (edge * scale <= 96) for edge in (77, 38)]
    assert [crop.image.shape[0] for crop in out.crops] == [mask.shape[0] for mask in out.masks] == sizes
    assert all(outcome.status == "restored" for outcome in out.outcomes)


def test_a_batch_that_does_not_fit_is_halved_and_the_work_goes_on(smooth_image: Make) -> None:
    def small_memory(faces: PictureBatch) -> None:
        if len(faces) > 1:
            raise torch.OutOfMemoryError

    model = Model(small_memory)
    out = list(restorer(model, batch_size=4).stream(frames(smooth_image, 2)))
    assert model.batches == [4, 2, 1, 1, 1, 1]
    assert all(isinstance(each, Restored) and len(each.faces) == 2 for each in out)


def test_a_face_the_network_fails_on_keeps_its_pixels_and_is_reported(smooth_image: Make) -> None:
    class Broken(Model):
        def __call__(self, faces: PictureBatch) -> PictureBatch:
            out = super().__call__(faces)
            out[0] = float("nan")
            return out

    (frame,) = frames(smooth_image, 1)
    (out,) = restorer(Broken(), batch_size=2).stream([frame])
    assert isinstance(out, Restored)
    assert [outcome.status for outcome in out.outcomes] == ["failed", "restored"]
    assert (out.image[:, :100] == frame.image[:, :100]).all() and (out.image[:, 130:] != frame.image[:, 130:]).any()


def test_a_frame_that_fails_does_not_end_the_stream(smooth_image: Make) -> None:
    def picky(images: Sequence[Image]) -> list[tuple[Face, ...]]:
        if images[0].shape[0] == 7:
            raise InputError("seven")
        return [()]

    given = [Frame(0, smooth_image(7, 9), "seven"), Frame(1, smooth_image(8, 9), "eight")]
    one, two = Restorer(picky, Model(), soft_masker, RestoreOptions(scale=2)).stream(given)
    assert isinstance(one, Failed) and one.frame.name == "seven"
    assert isinstance(two, Restored) and two.image.shape == (16, 18, 3)


@pytest.mark.parametrize(("which", "kept"), [("all", [0, 1]), ("largest", [1]), ("center", [1]), ("1", [1])])
def test_the_faces_asked_for(smooth_image: Make, which: str, kept: list[int]) -> None:
    larger = Face(np.array([120, 15, 200, 110.0]), FACES[1].landmarks, 0.8)
    parts = Restorer(lambda images: [(FACES[0], larger)], Model(), soft_masker, RestoreOptions(scale=1, faces=which))
    out = parts.restore(frames(smooth_image, 1)[0])
    assert [i for i, outcome in enumerate(out.outcomes) if outcome.status == "restored"] == kept


def test_gray_photos_get_gray_faces(smooth_image: Make) -> None:
    gray = np.repeat(smooth_image(120, 240)[..., :1], 3, axis=2)

    class Coloured(Model):
        def __call__(self, faces: PictureBatch) -> PictureBatch:
            return faces + np.array([0.4, 0, -0.4], np.float32)[:, None, None]

    out = restorer(Coloured()).restore(Frame(0, gray, "gray", is_gray=True))
    assert (out.image == out.image[..., :1]).all()


def test_16_bit_stays_exact_outside_the_masks(smooth_image: Make) -> None:
    deep = smooth_image(120, 240).astype(np.uint16) * 200 + 7
    out = restorer(Model()).restore(Frame(0, deep, "deep"))
    changed = (out.image != deep).any(axis=2)
    assert out.image.dtype == np.uint16 and changed.any()
    assert not changed[:, :20].any() and not changed[115:].any()


NO_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
)


@pytest.mark.parametrize("error", NO_MEMORY, ids=["cuda", "cpu", "python"])
def test_no_memory_at_any_stage_halves_then_tells_and_goes_on(smooth_image: Make, error: Exception) -> None:
    """Network: smaller batches, then the one face that never fits keeps its own pixels."""
    bad = 3  # the second face of the second frame

    def never_the_fourth(faces: PictureBatch) -> None:
        seen = sum(model.batches[:-1]) if max(model.batches) == 1 else None
        if len(faces) > 1 or seen == bad:
            raise error

    model = Model(never_the_fourth)
    given = frames(smooth_image, 3)
    out = [each for each in restorer(model, batch_size=1).stream(given) if isinstance(each, Restored)]
    assert [[outcome.status for outcome in each.outcomes] for each in out] == [
        ["restored"] * 2, ["restored", "failed"], ["restored"] * 2,
    ]  # fmt: skip
    assert "memory" in str(out[1].outcomes[1].error)
    assert (out[1].image[:, 140:] == given[1].image[:, 140:]).all()
    large = Model(lambda faces: (_ for _ in ()).throw(error) if len(faces) > 2 else None)
    assert all(isinstance(each, Restored) and len(each.faces) == 2
               for each in restorer(large, batch_size=6).stream(given))  # fmt: skip
    assert large.batches == [6, 3, 1, 1, 1, 1, 1, 1] or max(large.batches[2:]) <= 2


@pytest.mark.parametrize("error", NO_MEMORY, ids=["cuda", "cpu", "python"])
def test_no_memory_for_masks_is_tried_one_by_one_then_told(smooth_image: Make, error: Exception) -> None:
    calls: list[int] = []

    def masker(faces: object) -> list[NDArray[np.float32]]:
        calls.append(len(faces))  # type: ignore[arg-type]
        if calls[-1] > 1 or len(calls) == 3:
            raise error
        return soft_masker(faces)  # type: ignore[arg-type]

    (frame,) = frames(smooth_image, 1)
    (out,) = Restorer(detect, Model(), masker, RestoreOptions(scale=1)).stream([frame])
    assert isinstance(out, Restored) and calls == [2, 1, 1]
    assert [outcome.status for outcome in out.outcomes] == ["restored", "failed"] and len(out.faces) == 1
    assert "mask does not fit" in str(out.outcomes[1].error)
    assert (out.image[:, 140:] == frame.image[:, 140:]).all() and (out.image[:, :100] != frame.image[:, :100]).any()


@pytest.mark.parametrize("error", [*NO_MEMORY, RuntimeError("CUDA error: an illegal memory access")])
def test_a_fault_of_the_detector_or_the_paste_fails_its_frame_only(
    smooth_image: Make, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    given = frames(smooth_image, 3)

    def picky(images: Sequence[Image]) -> list[tuple[Face, ...]]:
        if images[0] is given[1].image:
            raise error
        return detect(images)

    out = list(Restorer(picky, Model(), soft_masker, RestoreOptions(scale=1)).stream(given))
    assert [type(each) for each in out] == [Restored, Failed, Restored] and isinstance(out[1], Failed)
    assert ("--det-size 640" in str(out[1].error)) != ("illegal" in str(error))

    def full(canvas: object, *_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("gfpcli.pipeline.restorer.paste_faces", full)
    (failed,) = restorer(Model()).stream(given[:1])
    assert isinstance(failed, Failed) and ("--scale" in str(failed.error)) != ("illegal" in str(error))


def test_a_result_that_no_memory_holds_is_refused_before_it_is_made(
    smooth_image: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gfpcli.memory.free_memory", lambda: 1_000_000)
    (failed,) = Restorer(detect, Model(), soft_masker, RestoreOptions(scale=8)).stream(frames(smooth_image, 1))
    assert isinstance(failed, Failed) and "try a smaller --scale: it needs about" in str(failed.error)


def test_a_network_that_fails_otherwise_says_why(smooth_image: Make) -> None:
    def broken(faces: PictureBatch) -> None:
        raise RuntimeError("cuDNN error:\nCUDNN_STATUS_EXECUTION_FAILED")

    (out,) = restorer(Model(broken), batch_size=4).stream(frames(smooth_image, 1))
    assert isinstance(out, Restored) and {outcome.status for outcome in out.outcomes} == {"failed"}
    assert out.outcomes[0].error == "RuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"


def test_two_devices_work_at_once_and_give_what_one_gives_in_order(smooth_image: Make) -> None:
    given = frames(smooth_image, 6)
    alone = [out.image for out in restorer(Model(), batch_size=2).stream(given) if isinstance(out, Restored)]
    both = threading.Barrier(2, timeout=20)  # opens only when two networks run at the same time

    def meet(_: PictureBatch) -> None:
        both.wait()

    models = [Model(meet) for _ in range(2)]
    first, second = (restorer(model, batch_size=2) for model in models)
    out = list(replace(first, replicas=(second,)).stream(given))
    assert [each.frame.name for each in out] == [each.name for each in given]
    assert all(isinstance(each, Restored) and (each.image == one).all() for each, one in zip(out, alone, strict=True))
    assert [model.batches for model in models] == [[2, 2, 2]] * 2


def test_masks_are_made_for_a_whole_batch_and_nothing_is_done_for_frames_without_faces(smooth_image: Make) -> None:
    asked: list[int] = []

    def masker(faces: Sequence[NDArray[np.uint8]]) -> list[Mask]:
        asked.append(len(faces))
        return soft_masker(faces)

    model = Model()
    empty = [Frame(i, np.zeros((120, 240, 3), np.uint8), "empty") for i in range(3)]
    list(Restorer(detect, model, masker, RestoreOptions(scale=1, batch_size=4)).stream(frames(smooth_image, 4)))
    assert asked == model.batches == [4, 4]
    asked.clear()
    model.batches.clear()
    out = list(Restorer(detect, model, masker, RestoreOptions(scale=1)).stream(empty))
    assert len(out) == 3 and asked == model.batches == []


def test_one_frame_is_pasted_while_the_network_has_the_next(
    smooth_image: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_pasting = threading.Event()
    seen: list[bool] = []

    def second_waits(faces: PictureBatch) -> None:
        seen.append(not seen or is_pasting.wait(20))  # the second face comes while the first frame is pasted

    monkeypatch.setattr("gfpcli.pipeline.restorer.paste_faces", lambda *_, **__: is_pasting.set())
    list(restorer(Model(second_waits), batch_size=2).stream(frames(smooth_image, 2)))
    assert seen == [True, True] and is_pasting.is_set()


def test_faces_of_several_frames_are_looked_for_together_and_one_by_one_where_that_fails(smooth_image: Make) -> None:
    asked: list[int] = []

    def many(images: Sequence[Image]) -> list[tuple[Face, ...]]:
        asked.append(len(images))
        if len(images) == 4:
            raise torch.OutOfMemoryError
        return detect(images)

    given = frames(smooth_image, 12)
    out = list(replace(restorer(Model()), detector=many, n_detect=8).stream(given))
    assert asked == [8, 4, 1, 1, 1, 1] and [each.frame.name for each in out] == [each.name for each in given]
    assert all(isinstance(each, Restored) and len(each.faces) == 2 for each in out)


def test_a_face_that_cannot_be_cut_stops_no_other_frame_either_way(
    smooth_image: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = frames(smooth_image, 3)

    def cut(image: Image, *rest: object) -> Crop:
        if image is given[1].image:
            raise MemoryError
        return cut_crop(image, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("gfpcli.pipeline.align.cut_crop", cut)
    for n_detect in (1, 8):
        parts = replace(restorer(Model()), n_detect=n_detect)
        assert [type(each) for each in parts.stream(given)] == [Restored, Failed, Restored]


def faceless(n: int, size: int = 48) -> Iterator[Frame]:
    for i in range(n):
        yield Frame(i, np.zeros((size, size, 3), np.uint8), f"frame {i}")


@pytest.mark.parametrize("n_detect", [1, 8])
@pytest.mark.parametrize("batch_size", [1, 16])
def test_a_frame_without_faces_comes_out_while_few_more_are_read(batch_size: int, n_detect: int) -> None:
    n_read = 0

    def read() -> Iterator[Frame]:
        nonlocal n_read
        for frame in faceless(100):
            n_read += 1
            yield frame

    parts = replace(restorer(Model(), batch_size=batch_size), n_detect=n_detect)
    stream = parts.stream(read())
    for i, out in enumerate(stream):
        assert out.frame.index == i and n_read <= i + 16
    assert n_read == 100


def test_frames_without_faces_behind_one_with_a_face_keep_their_order_and_wait_for_few(smooth_image: Make) -> None:
    model, n_read = Model(), 0

    def read() -> Iterator[Frame]:
        nonlocal n_read
        for frame in [*frames(smooth_image, 1), *faceless(50)]:
            n_read += 1
            yield frame

    stream = restorer(model, batch_size=16).stream(read())
    assert next(stream).frame.name == "frame 0" and n_read <= 16 and model.batches == [2]
    assert [out.frame.image.shape[0] for out in stream] == [48] * 50


def test_the_time_of_a_run_without_faces_grows_with_its_length() -> None:
    def seconds(n: int) -> float:
        start = time.process_time()
        assert sum(isinstance(out, Restored) for out in restorer(Model()).stream(faceless(n))) == n
        return time.process_time() - start

    seconds(50)
    short = sorted(seconds(250) for _ in range(3))[1]
    assert seconds(4000) < 27 * short  # 16 where each frame takes as long; 40 where each looks at all that wait


def test_a_face_whose_landmarks_lie_outside_fails_alone(smooth_image: Make) -> None:
    """Its box touches the photo; each way of scaling it to the network's size is tried."""
    (frame,) = frames(smooth_image, 1)
    for zoom, away in ((3.0, 9000.0), (0.2, 400.0), (3.0, -9000.0)):
        outside = Face(np.array([200.0, 20, 900, 700]), TEMPLATE_512 * zoom + away, 0.95)
        parts = replace(restorer(Model()), detector=lambda images, face=outside: [(face, *FACES)])  # type: ignore[misc]
        (out,) = parts.stream([frame])
        assert isinstance(out, Restored)
        assert [outcome.status for outcome in out.outcomes] == ["failed", "restored", "restored"]
        assert out.outcomes[0].error == "the landmarks of this face lie outside the photo"
        assert (out.image == restorer(Model()).restore(frame).image).all()


def test_what_opencv_raises_for_one_face_fails_that_face(smooth_image: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(image: Image, face: Face, *rest: object) -> Crop:
        if (face.box == FACES[0].box).all():
            raise cv2.error("OpenCV(4.9) /io/smooth.cpp:617: error: (-215:Assertion failed) !_src.empty()")
        return cut_crop(image, face, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("gfpcli.pipeline.align.cut_crop", cut)
    out = restorer(Model()).restore(frames(smooth_image, 1)[0])
    assert [outcome.status for outcome in out.outcomes] == ["failed", "restored"]
    assert "OpenCV" not in str(out.outcomes[0].error) and "cut out" in str(out.outcomes[0].error)


def test_every_stage_is_told_to_the_observer(smooth_image: Make) -> None:
    told: list[str] = []

    @contextmanager
    def observer(stage: str) -> Iterator[None]:
        told.append(stage)
        yield

    watched = replace(restorer(Model()), observer=observer, upsampler=lambda image, size: image.copy())
    watched.restore(frames(smooth_image, 1)[0])
    assert told == ["detect", "align", "net", "identity", "mask", "background", "paste"]


def test_an_aligned_picture_is_one_face_of_the_network_s_size(smooth_image: Make) -> None:
    """Its size, transparency and depth become the network's; `strength` mixes it with what was given."""
    small, alpha = smooth_image(32, 32), np.full((32, 32), 77, np.uint8)
    given = np.asarray(cv2.resize(small, (64, 64), interpolation=cv2.INTER_LINEAR), np.uint8)
    face = np.clip(given + 63.75, 0, 255).round()  # the model adds 0.5 of 2
    for strength in (1.0, 0.25):
        parts = restorer(Model(), aligned=True, strength=str(strength))
        out = parts.restore(Frame(0, small, "face", alpha=alpha))
        assert np.abs(out.image - (strength * face + (1 - strength) * given)).max() <= 1
        assert out.scale == 2 and out.alpha is not None and out.alpha.shape == (64, 64) and (out.alpha == 77).all()
        assert [outcome.status for outcome in out.outcomes] == ["restored"] and len(out.crops) == len(out.faces) == 1
        assert out.masks[0].shape == (64, 64) and (out.masks[0] == 1).all()
        assert out.crops[0].face.box.tolist() == [0, 0, 32, 32]
        assert np.allclose(out.crops[0].frame_to_crop, [[2, 0, 0], [0, 2, 0]])
    deep = restorer(Model(), aligned=True).restore(Frame(0, small.astype(np.uint16) * 257, "face"))
    assert deep.image.dtype == np.uint8 and np.abs(deep.image - face).max() <= 1
    (same,) = restorer(Model(), aligned=True).stream([Frame(0, given, "face")])
    assert isinstance(same, Restored) and (same.crops[0].image == given).all() and same.scale == 1


def test_an_aligned_picture_must_be_square_and_its_face_must_succeed(smooth_image: Make) -> None:
    def broken(faces: PictureBatch) -> None:
        raise RuntimeError("no")

    with pytest.raises(InputError, match="wide: 60x50 is not square, as --aligned needs"):
        restorer(Model(), aligned=True).restore(Frame(0, smooth_image(50, 60), "wide"))
    with pytest.raises(InputError, match="face: RuntimeError: no"):
        restorer(Model(broken), aligned=True).restore(Frame(0, smooth_image(64, 64), "face"))


def test_the_seconds_of_a_frame_are_its_share_of_each_step(smooth_image: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is moved by what the parts are said to take; two frames with two faces each go together."""
    clock = [1000.0]

    def taking(seconds: float, work: Callable[..., T]) -> Callable[..., T]:
        def run(*arguments: object, **named: object) -> T:
            clock[0] += seconds
            return work(*arguments, **named)

        return run

    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("gfpcli.pipeline.align.cut_crop", taking(0.5, cut_crop))
    monkeypatch.setattr("gfpcli.pipeline.restorer.paste_faces", taking(32, lambda *_, **__: None))
    parts = replace(
        restorer(Model(lambda faces: taking(4, lambda: None)()), batch_size=4), detector=taking(2, detect), n_detect=2,
        masker=taking(8, soft_masker), upsampler=taking(16, lambda image, size: image.copy()),
    )  # fmt: skip
    for out in parts.stream(frames(smooth_image, 2)):
        assert isinstance(out, Restored)
        assert out.timings == {"network": 2, "total": 2 / 2 + 2 * 0.5 + 4 / 2 + 8 / 2 + 16 + 32}
