"""Architecture: everything that decides a GEMNet, as data."""

from __future__ import annotations

from dataclasses import dataclass

from gemnet.cell import Cell
from gemnet.core.errors import UserError


@dataclass(frozen=True)
class Architecture:
    """A network of cells: a 3x3 stem, stages of equal cells with a 2x2 max-pool before every stage but the first, a 1x1 head.

    widths: channels of each node of a cell, a stage each. depths: cells, a stage each.
    head_width: channels of the 1x1 head convolution; 0 for none. stem_stride: 2 for ImageNet, 1 for small images.
    residual: add a cell's input to its output where both have the same channels.

    Raises:
        UserError: for numbers that are no network.
        CellError: for a cell of which none is built.
    """

    cell: Cell
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    stem_width: int = 32
    head_width: int = 1280
    stem_stride: int = 2
    residual: bool = False

    def __post_init__(self) -> None:
        self.cell.check_buildable()
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "depths", tuple(self.depths))
        if not self.widths or len(self.widths) != len(self.depths):
            raise UserError(f"expected as many widths as depths, at least one; found {self.widths} and {self.depths}")
        numbers = (*self.widths, *self.depths, self.stem_width, self.head_width)
        if any(type(number) is not int for number in numbers):
            raise UserError(f"expected whole numbers for widths, depths, stem and head; found {numbers}")
        if min(numbers[:-1]) < 1 or self.head_width < 0:
            raise UserError(f"expected widths, depths and stem of at least 1 and a head of at least 0; found {numbers}")
        if self.stem_stride not in (1, 2):
            raise UserError(f"stem_stride: expected 1 or 2, found {self.stem_stride}")

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Output channels of each stage: leaves x width."""
        return tuple(len(self.cell.leaves) * width for width in self.widths)

    @property
    def stride(self) -> int:
        """Pixels of the image that one position of the last map stands for, in each direction."""
        return self.stem_stride * 2 ** (len(self.widths) - 1)

    @property
    def num_features(self) -> int:
        """Channels before the classifier."""
        return self.head_width or self.stage_channels[-1]
