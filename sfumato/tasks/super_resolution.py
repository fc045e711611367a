"""Super-resolution: y is the image made smaller; every pixel has to be made (paper 000, section 3.3)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError
from sfumato.images import Size
from sfumato.streams import Rngs
from sfumato.tasks.base import Region, Task
from sfumato.tasks.down_sampling import BlockMean, CubicDown, DownSampling


class SuperResolution(Task):
    """y = A x with A a down-sampling by `scale`; networks see y enlarged.

    Raises: ConfigError: the size of the images is not a multiple of the scale, or smaller than it.
    """

    class Config(Strict):
        kind: Literal["super_resolution"] = "super_resolution"
        scale: int = Field(default=4, ge=2)
        """How many times smaller y is: 2 or 4 as a rule."""
        law: Literal["block_mean", "bicubic"] = "block_mean"
        """How y is made: the mean of blocks, or an antialiased cubic."""
        rounded: bool = False
        """Round y to 8 bits, as a thumbnail in a file is."""
        noise: float = Field(default=0.0, ge=0.0)
        """Standard deviation of the noise in y, on the scale of images (-1 to 1)."""
        preview: Literal["bilinear", "pinv"] = "bilinear"
        """How y is enlarged for the network: bilinear as in paper 000, or the pseudo-inverse A+."""

    region: Region = "all"

    @property
    def name(self) -> str:
        """super_resolution-x4, so that a study can hold several scales."""
        law = "" if self.config.law == "block_mean" else f"-{self.config.law}"
        eight = ["8bit"] if self.config.rounded else []
        return "-".join([f"super_resolution-x{self.config.scale}{law}", *eight, *self.noise_in_name])

    def check(self, spec: DataSpec) -> None:
        """Raises: ConfigError: the size is not a multiple of the scale."""
        self._checked(spec.size)

    def operator(self, rngs: Rngs, n: int, size: Size) -> DownSampling:
        """The same filter for each image."""
        self._checked(size)
        law = BlockMean if self.config.law == "block_mean" else CubicDown
        return law(n, size, self.config.scale, self.config.preview == "bilinear")

    def _checked(self, size: Size) -> None:
        scale: int = self.config.scale
        if any(side % scale for side in size):
            raise ConfigError(
                f"super-resolution by {scale} needs images whose sides are multiples of {scale}; "
                f"these are {size[0]} x {size[1]}"
            )
