"""Deblurring: y is the image out of focus or in motion."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from sfumato.config import Strict
from sfumato.images import Size
from sfumato.kinds import build, choice
from sfumato.streams import Rngs
from sfumato.tasks.base import Region, Task
from sfumato.tasks.blur import Blur, BlurLaw, Gaussian


class Deblurring(Task):
    """y = kernel * x + noise n, with a kernel of the chosen law for each image.

    Example:
        >>> import torch
        >>> from sfumato.streams import stream
        >>> task = Deblurring(Deblurring.Config(blur="motion", noise=0.0))
        >>> bool(task.observe(torch.ones(1, 3, 8, 8), stream(0, "mask")).y.allclose(torch.ones(1, 3, 8, 8), atol=1e-5))
        True
    """

    class Config(Strict):
        kind: Literal["deblurring"] = "deblurring"
        blur: Annotated[Any, choice(BlurLaw, "gaussian")] = Gaussian.Config()
        """The law of the kernels: gaussian or motion."""
        noise: float = Field(default=0.02, ge=0.0)
        """Standard deviation of the noise that comes after the blur; 0.02 is two or three levels of 255."""

    region: Region = "all"

    def __init__(self, config: Config):
        super().__init__(config)
        self.law: BlurLaw = build(config.blur)

    @property
    def name(self) -> str:
        """deblurring for the default, else with the law, what was set of it, and the noise."""
        blur = self.config.blur
        names = [name for name in type(blur).model_fields if name != "kind" and blur.changed(name)]
        law = [str(blur.kind)] if names or self.config.changed("blur") else []
        set_ = [f"{getattr(blur, name):g}" for name in names]
        return "-".join(["deblurring", *law, *set_, *([f"n{self.noise:g}"] if self.config.changed("noise") else [])])

    def operator(self, rngs: Rngs, n: int, size: Size) -> Blur:
        """Draw a kernel for each image."""
        return Blur(self.law.draw(rngs, n, size))
