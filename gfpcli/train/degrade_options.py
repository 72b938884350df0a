"""Options of the degradation of training faces, and the degradations that have a name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gfpcli.errors import UsageError
from gfpcli.options import check_within, option

Range = tuple[float, float]
RANGE_LIMITS = {  # outside of them a step of the degradation fails or has no meaning
    "sigma": (0.01, 1000), "shrink": (0.25, 10_000), "noise": (0, 10_000), "quality": (0, 100),
    "brightness": (0, 100), "contrast": (0, 100), "saturation": (0, 100), "hue": (-1, 1),
    "second_sigma": (0.01, 1000), "second_shrink": (0.25, 100), "second_noise": (0, 10_000), "second_quality": (0, 100),
    "motion": (0, 200), "grain": (0, 255), "fading": (0, 1), "halftone": (1, 100), "cracks": (0, 100),
    "scratches": (0, 200), "specks": (0, 2000), "crf": (0, 51),
}  # fmt: skip
CHANCES = ("iso_chance", "shift_chance", "jitter_chance", "gray_chance", "mild_share", "second_chance", "sinc_chance",
           "motion_chance", "grain_chance", "fading_chance", "toned_share", "halftone_chance", "colour_share",
           "damage_chance", "codec_chance")  # fmt: skip


@dataclass(frozen=True, slots=True)
class DegradeOptions:
    """The ranges from which each degradation is drawn, uniformly.

    Raises:
        UsageError: a range that runs backwards or leaves RANGE_LIMITS, a chance outside 0..1, an even kernel size.
    """

    kernel_size: int = option(41, "edge of the blur kernel, px, odd")
    iso_chance: float = option(0.5, "chance of an isotropic blur; else it is stretched and turned")
    sigma: Range = option((0.1, 10.0), "standard deviation of the blur, px")
    shrink: Range = option((0.8, 8.0), "factor by which the face is made smaller")
    noise: Range = option((0.0, 20.0), "standard deviation of the Gaussian noise, of 255")
    quality: Range = option((60.0, 100.0), "JPEG quality")
    shift_chance: float = option(0.3, "chance that each channel is shifted by up to `shift`")
    shift: float = option(20.0, "largest shift of a channel, of 255")
    jitter_chance: float = option(0.3, "chance that brightness, contrast, saturation and hue are changed")
    brightness: Range = option((0.5, 1.5), "factor of the brightness")
    contrast: Range = option((0.5, 1.5), "factor of the contrast")
    saturation: Range = option((0.0, 1.5), "factor of the saturation")
    hue: Range = option((-0.1, 0.1), "shift of the hue, turns")
    gray_chance: float = option(0.01, "chance of a gray face")
    mild_share: float = option(0.0, "share of the faces that are degraded little or hardly at all")
    is_mixed: bool = option(False, "blur kernels, resizing and noise of several kinds, not the paper's only")
    second_chance: float = option(0.0, "chance of a second round of blur, resizing, noise and JPEG")
    second_sigma: Range = option((0.1, 1.5), "standard deviation of the second blur, px of the small face")
    second_shrink: Range = option((0.8, 1.6), "factor by which the small face is made smaller once more")
    second_noise: Range = option((0.0, 12.0), "standard deviation of the second noise, of 255")
    second_quality: Range = option((30.0, 95.0), "second JPEG quality")
    sinc_chance: float = option(0.0, "chance of rings around edges, by a sinc filter at the end")
    motion_chance: float = option(0.0, "chance of motion blur")
    motion: Range = option((4.0, 30.0), "length of the motion, px at 512")
    grain_chance: float = option(0.0, "chance of film grain")
    grain: Range = option((3.0, 20.0), "standard deviation of the grain in the middle tones, of 255")
    fading_chance: float = option(0.0, "chance of faded colours")
    fading: Range = option((0.1, 0.9), "how much contrast and colour have faded, 0 to 1")
    toned_share: float = option(0.5, "share of the faded faces that are gray or sepia instead")
    is_fading_repaired: bool = option(False, "the target has its colours back; no: it is faded, gray or sepia too")
    halftone_chance: float = option(0.0, "chance of a printed halftone screen")
    halftone: Range = option((2.0, 4.5), "distance between the screen's dots, px of the small face")
    colour_share: float = option(0.5, "share of the screens that are in colour; the others make the target gray too")
    damage_chance: float = option(0.0, "chance of cracks, scratches and dust, which the target does not have")
    cracks: Range = option((0.0, 5.0), "number of cracks")
    scratches: Range = option((0.0, 6.0), "number of scratches")
    specks: Range = option((0.0, 60.0), "number of specks of dust")
    codec_chance: float = option(0.0, "chance of video compression (H.264 or MPEG-4)")
    crf: Range = option((24.0, 42.0), "constant rate factor of the video, 0 to 51, higher is worse")

    def __post_init__(self) -> None:
        for name, (least, most) in RANGE_LIMITS.items():
            low, high = getattr(self, name)
            if high < low:
                raise UsageError(f"degradation {name}: {low} to {high} runs backwards")
            if not least <= low <= high <= most:  # also refuses NaN
                raise UsageError(f"degradation {name}: {low} to {high} is not between {least} and {most}")
        for name in CHANCES:
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"degradation {name}: {getattr(self, name)} is not between 0 and 1")
        check_within("set degrade.shift", self.shift, 0, 255)
        if not 1 <= self.kernel_size <= 1023 or self.kernel_size % 2 == 0:
            raise UsageError(f"degradation kernel_size: {self.kernel_size} is not an odd number from 1 to 1023")


SAME_COLOURS = DegradeOptions(
    sigma=(0.1, 4.0), shrink=(0.8, 4.0), noise=(0.0, 8.0), shift_chance=0.0, jitter_chance=0.0, gray_chance=0.0,
    mild_share=0.15,
)  # fmt: skip
DEGRADATIONS = {
    "paper": DegradeOptions(),
    "mild": DegradeOptions(sigma=(0.1, 4.0), shrink=(0.8, 4.0), noise=(0.0, 10.0), shift_chance=0.0, jitter_chance=0.0),
    "video": replace(SAME_COLOURS, sigma=(0.1, 6.0), shrink=(1.0, 6.0), codec_chance=1.0, motion_chance=0.15),
    "second-order": replace(
        SAME_COLOURS, is_mixed=True, sigma=(0.1, 5.0), shrink=(0.8, 6.0), noise=(0.0, 20.0), quality=(30.0, 95.0),
        second_chance=0.8, sinc_chance=0.5,
    ),
    "motion": replace(SAME_COLOURS, sigma=(0.1, 2.0), motion_chance=1.0),
    "film": replace(SAME_COLOURS, noise=(0.0, 5.0), grain_chance=1.0),
    "faded": replace(SAME_COLOURS, fading_chance=1.0),
    "halftone": replace(SAME_COLOURS, shrink=(1.0, 4.0), noise=(0.0, 5.0), halftone_chance=1.0),
    "scratched": replace(SAME_COLOURS, fading_chance=0.5, grain_chance=0.5, damage_chance=1.0),
    "old-photos": replace(
        SAME_COLOURS, is_mixed=True, sigma=(0.1, 5.0), shrink=(0.8, 6.0), noise=(0.0, 12.0), quality=(40.0, 100.0),
        second_chance=0.2, motion_chance=0.05, grain_chance=0.6, fading_chance=0.7, halftone_chance=0.15,
        damage_chance=0.5,
    ),
    "real-life": replace(
        SAME_COLOURS, is_mixed=True, sigma=(0.1, 6.0), shrink=(0.8, 7.0), noise=(0.0, 20.0), quality=(30.0, 100.0),
        second_chance=0.4, sinc_chance=0.2, motion_chance=0.1, grain_chance=0.25, fading_chance=0.25,
        halftone_chance=0.12, damage_chance=0.2, codec_chance=0.12, mild_share=0.35,
    ),
}  # fmt: skip
