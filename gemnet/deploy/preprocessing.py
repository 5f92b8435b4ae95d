"""What a detector's test pipeline does to a photo, as plain values that an exported file can hold and repeat."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import gemnet.openmmlab  # noqa: F401  # offers mmcv's operators, which mmdet imports

# isort: split
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, Pad, Resize
from mmdet.models.data_preprocessors import DetDataPreprocessor

from gemnet.core.errors import UserError


@dataclass(frozen=True)
class Preprocessing:
    """How photos become what the network takes: resized, filled up, normalised, filled up again.

    Attributes:
        scale: Pixels; with `keep_ratio` the longer side becomes at most the larger number and the shorter at most the other,
            otherwise width and height become these. Resizing is bilinear, as OpenCV does it to bytes.
        keep_ratio: Whether width and height are scaled alike.
        fill_size: Width and height that are filled up to at the right and below, before normalisation; None for no such step.
        fill_value: The grey of these pixels, 0 to 255.
        order: Of the channels, RGB or BGR.
        mean: Of each channel, subtracted.
        std: Of each channel, divided by.
        divisor: Height and width are filled up to multiples of it, with 0 after normalisation.
    """

    scale: tuple[int, int]
    keep_ratio: bool
    fill_size: tuple[int, int] | None
    fill_value: float
    order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    divisor: int

    def described(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "interpolation": "bilinear"}

    def filled(self, width: int, height: int) -> tuple[int, int]:
        """Width and height in pixels of the network's input for a photo of that size alone."""
        new = list(self.scale)
        if self.keep_ratio:
            ratio = min(max(new) / max(width, height), min(new) / min(width, height))
            new = [max(1, int(side * ratio + 0.5)) for side in (width, height)]
        wide, high = (math.ceil(max(pair) / self.divisor) * self.divisor for pair in zip(new, self.fill_size or new))
        return wide, high

    @property
    def largest(self) -> tuple[int, int]:
        """Two sides, in pixels, that the network's input never exceeds, lying or upright."""
        sides = sorted(self.scale, reverse=True) if self.keep_ratio else list(self.scale)
        if self.fill_size is not None:
            sides = [max(*(sides if self.keep_ratio else [side]), fill) for side, fill in zip(sides, self.fill_size)]
        filled = [math.ceil(side / self.divisor) * self.divisor for side in sides]
        return filled[0], filled[1]


def preprocessing(steps: Iterable[Any], preprocessor: Any) -> Preprocessing:
    """What a test pipeline's built `steps` and a model's data preprocessor do. Raises UserError for an unknown step."""
    resize, pad = None, None
    for step in steps:
        name = type(step).__name__
        if isinstance(step, Resize) and resize is None and pad is None:
            resize = step
        elif type(step) is Pad and pad is None:
            pad = step
        elif not isinstance(step, (LoadImageFromFile, LoadAnnotations, PackDetInputs)):
            raise UserError(f"the test pipeline's {name} cannot be exported; expected Resize, then Pad if at all")
    if resize is None or resize.scale is None or isinstance(resize.scale, (int, float)):
        raise UserError("the test pipeline has no Resize with a scale of two numbers; expected scale=(width, height)")
    if resize.interpolation != "bilinear" or resize.backend != "cv2":
        raise UserError(
            f"the test pipeline's Resize with interpolation={resize.interpolation!r}, backend={resize.backend!r} cannot be "
            "exported; expected 'bilinear', 'cv2'"
        )
    if type(preprocessor) is not DetDataPreprocessor or not preprocessor._enable_normalize or preprocessor.pad_value != 0:
        raise UserError("model.data_preprocessor cannot be exported; expected DetDataPreprocessor with mean, std, pad_value=0")
    fill_size, fill_value = _filling(pad)
    mean, std = (tuple(float(value) for value in getattr(preprocessor, name).flatten()) for name in ("mean", "std"))
    return Preprocessing(
        scale=(int(resize.scale[0]), int(resize.scale[1])),
        keep_ratio=bool(resize.keep_ratio),
        fill_size=fill_size,
        fill_value=fill_value,
        order="RGB" if preprocessor._channel_conversion else "BGR",  # photos are loaded as BGR
        mean=mean,  # type: ignore[arg-type]  # three, as the images have channels
        std=std,  # type: ignore[arg-type]
        divisor=int(preprocessor.pad_size_divisor),
    )


def _filling(pad: Pad | None) -> tuple[tuple[int, int] | None, float]:
    if pad is None:
        return None, 0.0
    value = pad.pad_val.get("img", 0)
    values = set(value) if isinstance(value, (tuple, list)) else {value}
    if pad.size is None or pad.padding_mode != "constant" or len(values) != 1:
        raise UserError("the test pipeline's Pad cannot be exported; expected size=(width, height) and one grey as pad_val")
    return (int(pad.size[0]), int(pad.size[1])), float(values.pop())
