"""torchmetrics: the distribution metrics as `torchmetrics.Metric`, for other people's loops, collections and processes.

    from sfumato.torchmetrics import FrechetDistance, KernelDistance
    metrics = MetricCollection([FrechetDistance("inception", normalize=True), KernelDistance("inception", normalize=True)])
    metrics.update(photographs, real=True)  # [N, C, H, W] in [0, 1]; uint8 without normalize
    metrics.update(made, real=False)
    metrics.compute()  # over all processes

The figures are those of `sfumato.metrics`, without their intervals and cards. Where torchmetrics has a metric of the same
purpose, `update`, `reset` and `reset_real_features` mean the same; what differs is said at each class. Paired metrics
(PSNR, SSIM, LPIPS) are in torchmetrics already.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.errors import CapabilityError, ConfigError, DataError, ShapeError
from sfumato.features import Classifies, Features
from sfumato.features.base import extractor
from sfumato.images import PEAK, Pixels
from sfumato.kinds import parse
from sfumato.maths.gaussians import frechet
from sfumato.maths.moments import Moments, finite
from sfumato.maths.packed import joined, packed
from sfumato.metrics import inception_score, kernel, memorisation, mind, support
from sfumato.metrics.distribution import DistributionMetric, Sample
from sfumato.metrics.frechet import Frechet

try:
    from torchmetrics import Metric
    from torchmetrics.utilities import dim_zero_cat
    from torchmetrics.utilities.distributed import gather_all_tensors
except ImportError:
    raise CapabilityError("torchmetrics is not installed; pip install 'sfumato[torchmetrics]'") from None

GIVE = {"real": "update(imgs, real=True)", "fake": "update(imgs, real=False)", "train": "update_train(imgs)"}


class ModuleFeatures(Features, Classifies, abstract=True):
    """Somebody's own nn.Module as features: uint8 [B, C, H, W] to [B, num_features], in eval mode, on the images' device.

    It is no part of the metric's parameters and state, and `.half()` does not reach it.

    Raises: ConfigError: it has no attribute `num_features`.
    """

    def __init__(self, module: nn.Module) -> None:
        dim: Any = getattr(module, "num_features", None)
        if not isinstance(dim, int | Tensor):
            raise ConfigError(f"{type(module).__name__} has no num_features; set it to the length of its vectors")
        self.module, self.dim, self.tag = module.eval(), int(dim), type(module).__name__

    def extract(self, pixels: Pixels) -> Float[Tensor, "B D"]:
        return self.module.to(pixels.device)(pixels)

    def about(self) -> dict[str, Any]:
        return {"name": self.label, "dimensions": self.dim}

    def logits(self, vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """The vectors themselves, as torchmetrics takes them."""
        return vectors


class FeatureMetric(Metric):
    """What all share: images in, vectors of one extractor kept, one float64 figure or a dict of them out.

    `feature` is a kind of features ("inception", "lite0", ...), its config or table, or an nn.Module with `num_features`.
    Kinds are loaded once a process and shared, so the metric is as small as its state, copied, pickled or saved. That is
    float32 vectors, 410 MB for 50,000 of 2048 (float64 sums for `FrechetDistance`), whatever `.half()`, `.to(dtype)` and
    `set_dtype` say. Figures do not depend on batches, order or the number of processes; a process may have had no images.
    Other keywords are the class's settings, as in the metric's Config, and those of `torchmetrics.Metric`.

    `forward` takes a batch in and returns the figure of its made images alone against all real ones that this process has
    had, or NaN where there is none, as for a batch of real images: `update` and `compute` are what loops want.

    Raises: ConfigError: see `ModuleFeatures`; no such kind; `dist_sync_on_step`, which nothing here uses.
    """

    is_differentiable = False
    full_state_update = False
    kind: ClassVar[type[DistributionMetric]]
    settings: ClassVar[tuple[str, ...]] = ()
    """Which of the Config's settings are keywords here."""
    sides: ClassVar[tuple[str, ...]] = ("real", "fake")
    outputs: ClassVar[tuple[str, ...]] = ()
    """Keys of the dict that is returned; a single number where empty."""

    def __init__(
        self, feature: Any = "inception", *, reset_real_features: bool = True, normalize: bool = False, **kwargs: Any
    ):
        chosen = {name: kwargs.pop(name) for name in self.settings if name in kwargs}
        super().__init__(**kwargs)
        if self.dist_sync_on_step:
            raise ConfigError("dist_sync_on_step has no use: a batch has no figure over all processes; leave it out")
        own = isinstance(feature, nn.Module)
        self.feature: Any = ModuleFeatures(feature) if own else parse(Features, feature)
        self.reset_real_features, self.normalize, self.chosen = reset_real_features, normalize, chosen
        self.dim = self.features().dim
        # A MetricCollection lets metrics share equal states, empty ones too, and before torchmetrics 1.7 looked at the first
        # alone: so the first says what the others are of
        name, kind = id(feature) if own else repr(self.feature), type(self.nothing()[0])
        told = (name, kind, reset_real_features, normalize)
        self.add_state("told", torch.tensor(list(hashlib.sha256(repr(told).encode()).digest()[:8])), "max")
        for side in self.sides:
            self.add_state(f"{side}_features", *self.nothing())
        self.measure()  # so that wrong settings are found now

    def nothing(self) -> tuple[Any, Any]:
        """The state of one side without images, and how states of several processes become one."""
        return [], "cat"

    def taken(self, state: Any, vectors: Float[Tensor, "B d"]) -> Any:
        """A side's state with these vectors; a new one, because a MetricCollection may share the old one."""
        return [*state, vectors.float()]

    def read(self, state: Any) -> Any:
        """All images of one side as `judge` takes them; None where there are none."""
        vectors = dim_zero_cat(state) if len(state) else state  # already one tensor where processes were joined
        return vectors if len(vectors) else None

    def judge(self, made: Any) -> list[float]:
        """The figures of these images against the state of the other sides."""
        sample = Sample.of(made)
        others = {name: Sample.of(self.side(name)) for name in self.sides if name != "fake"}
        return [score.value for score in self.measure().judge(sample, others.get("real", sample), others.get("train"))]

    def features(self, device: torch.device | str = "cpu") -> Features:
        """The extractor."""
        return self.feature if isinstance(self.feature, ModuleFeatures) else extractor(self.feature, device)

    def measure(self) -> DistributionMetric:
        """The metric of sfumato that gives the figures."""
        if not isinstance(self.feature, ModuleFeatures):
            return self.kind(self.kind.Config(**{"features": self.feature}, **self.chosen))
        measure = self.kind(self.kind.Config(**self.chosen))
        measure._features = self.feature
        return measure

    @property
    def label(self) -> str:
        """How the figure is called: the field's own name on the 2015 Inception graph, else with that of the features."""
        return self.measure().label

    @torch.no_grad()
    def vectors(self, imgs: Tensor) -> Float[Tensor, "B d"]:
        """Vectors of a batch, on the metric's device; for errors see `update`."""
        pixels, features = pixels_of(imgs, self.normalize), self.features(imgs.device)
        # A module may change between calls, so nothing it said is remembered
        vectors = features.extract(pixels) if isinstance(features, ModuleFeatures) else features(pixels)
        if vectors.shape != (len(pixels), self.dim):
            wanted = f"{len(pixels)} vectors of {self.dim} numbers (num_features)"
            raise ShapeError(f"{self.label} needs {wanted}; got shape {tuple(vectors.shape)}")
        return finite(vectors).to(self.device)

    def update(self, imgs: Tensor, real: bool) -> None:
        """Take in a batch: uint8 [N, C, H, W], or floats in [0, 1] with `normalize`; `real` says which side it is.

        Raises: ShapeError, DataError: see `pixels_of`; vectors not [N, num_features]. DivergedError: one of them is not
        finite. Nothing was then taken in.
        """
        self.take(imgs, "real" if real else "fake")

    def take(self, imgs: Tensor, side: str) -> None:
        """Add a batch to a side, where it plays a part."""
        if side in self.sides:
            name = f"{side}_features"
            setattr(self, name, self.taken(getattr(self, name), self.vectors(imgs)))

    def side(self, name: str) -> Any:
        """All images of one side, as `judge` takes them. Raises: ShapeError: there are none."""
        found = self.read(getattr(self, f"{name}_features"))
        if found is None:
            raise ShapeError(f"{self.label} has no {name} images; give some by {GIVE[name]}")
        return found

    def compute(self) -> Tensor | dict[str, Tensor]:
        """The figure of all images that all processes had. Raises: ShapeError: a side has none or too few."""
        return self.answer(self.judge(self.side("fake")))

    def forward(self, imgs: Tensor, real: bool) -> Tensor | dict[str, Tensor]:
        self.update(imgs, real=real)
        figures = [math.nan] * max(len(self.outputs), 1)
        with suppress(ShapeError):  # too few images for a figure, which `compute` would say
            if not real:
                figures = self.judge(self.read(self.taken(self.nothing()[0], self.vectors(imgs))))
        self._forward_cache: Any = self.answer(figures)
        return self._forward_cache

    def answer(self, figures: list[float]) -> Tensor | dict[str, Tensor]:
        """Figures as float64 tensors."""
        values = torch.tensor(figures, dtype=torch.float64, device=self.device)
        return dict(zip(self.outputs, values, strict=True)) if self.outputs else values[0]

    def reset(self) -> None:
        """Forget everything; without `reset_real_features`, the made images alone."""
        kept = [] if self.reset_real_features else [f"{side}_features" for side in self.sides if side != "fake"]
        states = {name: getattr(self, name) for name in kept}
        for side in self.sides:
            setattr(self, f"{side}_features", self.nothing()[0])  # torchmetrics empties lists in place, shared or not
        super().reset()
        for name, state in states.items():
            setattr(self, name, state)

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """The figure, or several of them, drawn as torchmetrics does."""
        return self._plot(val, ax)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Any = "") -> nn.Module:
        """Other devices, but never another precision."""
        return super()._apply(lambda x: x.to(fn(x).device), exclude_state)

    def _sync_dist(self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any = None) -> None:
        """A process without images joins in with no vectors of the right width; torchmetrics' own have none and fail."""
        for name in [f"{side}_features" for side in self.sides]:
            if not len(getattr(self, name)):
                setattr(self, name, [torch.zeros(0, self.dim, device=self.device)])
        super()._sync_dist(dist_sync_fn, process_group)


class FrechetDistance(FeatureMetric):
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) between features: FID on the 2015 graph, else FD-<features>; see `label`.

    A side is one float64 tensor [d + 2, d] however many images it had; see `joined`. Against torchmetrics'
    FrechetInceptionDistance: floats are rounded to 256 levels, not cut off; large means lose no digits; fewer images than
    features take an exact route; the figure is float64.
    Reference: Heusel et al. (2017), GANs trained by a two time-scale update rule converge to a local Nash equilibrium.

    Example:
        >>> from sfumato.streams import stream
        >>> fd = FrechetDistance({"kind": "lite0", "layer": "b4"})
        >>> noise = torch.randint(256, (80, 3, 32, 32), generator=stream(0, "noise"), dtype=torch.uint8)
        >>> fd.update(noise[:40], real=True)
        >>> fd.update(noise[40:] // 2, real=False)
        >>> fd.label, round(float(fd.compute()), 1)
        ('FD-lite0-b4', 107.4)
    """

    higher_is_better = False
    plot_lower_bound = 0.0
    kind = Frechet

    def nothing(self) -> tuple[Any, Any]:
        return torch.zeros(self.dim + 2, self.dim, dtype=torch.float64, device=self.device), joined

    def taken(self, state: Any, vectors: Float[Tensor, "B d"]) -> Any:
        return joined([state, packed(vectors.double())])

    def read(self, state: Any) -> Any:
        n = int(state[0, 0])
        if n > self.dim:
            return Moments.given(state[1], state[2:] / (n - 1), n)
        return Moments.of(state[2 : n + 2]) if n else None

    def judge(self, made: Any) -> list[float]:
        return [frechet(made, self.side("real"))]


class KernelDistance(FeatureMetric):
    """Unbiased MMD^2 of the cubic kernel (a . b / d + 1)^3: KID on the 2015 graph, else KD-<features>.

    One number over all pairs, where torchmetrics' KernelInceptionDistance returns mean and deviation over 100 random subsets
    of 1000; with `subsets` (and `subset_size`) it is their mean, drawn by a fixed stream.
    Reference: Binkowski, Sutherland, Arbel and Gretton (2018), Demystifying MMD GANs.
    """

    higher_is_better = False
    kind = kernel.Kernel
    settings = ("subsets", "subset_size")


class MongeInceptionDistance(FeatureMetric):
    """3 d E_u W2^2 of features along random unit directions u: MIND on the 2015 graph, else MIND-<features>.

    Reference: Monge Inception Distance (2026), arXiv 2605.06797.
    """

    higher_is_better = False
    plot_lower_bound = 0.0
    kind = mind.MIND
    settings = ("directions",)

    def judge(self, made: Any) -> list[float]:
        return [mind.mind(made, self.side("real"), self.chosen.get("directions", 1000))]


class InceptionScore(FeatureMetric):
    """Mean over `splits` parts of exp E KL(p(y|x) || p(y)): IS on the 2015 graph, else CS-<features>; real images are ignored.

    One number, where torchmetrics returns mean and deviation, and shuffled by a fixed stream, not the global generator. The
    vectors of an nn.Module are taken as logits.
    Reference: Salimans et al. (2016), Improved techniques for training GANs.

    Raises: CapabilityError: features without a classifier.
    """

    higher_is_better = True
    plot_lower_bound = 1.0
    kind = inception_score.InceptionScore
    settings = ("splits",)
    sides = ("fake",)

    def __init__(self, feature: Any = "inception", *, splits: int = 10, **kwargs: Any):
        super().__init__(feature, splits=splits, **kwargs)
        self.judge(torch.zeros(splits, self.dim))  # so that features without a classifier are found now

    def update(self, imgs: Tensor, real: bool = False) -> None:
        super().update(imgs, real)

    def forward(self, imgs: Tensor, real: bool = False) -> Tensor | dict[str, Tensor]:
        return super().forward(imgs, real)


class PrecisionRecall(FeatureMetric):
    """Shares of images within balls around the other set's: a dict of precision, recall (`k`), density, coverage (`k_density`).

    References: Kynkaanniemi et al. (2019), Improved precision and recall metric for assessing generative models (k = 3);
    Naeem et al. (2020), Reliable fidelity and diversity metrics for generative models (k = 5).
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    kind = support.Support
    settings = ("k", "k_density")
    outputs = ("precision", "recall", "density", "coverage")


class Memorisation(FeatureMetric):
    """AuthPct, the share of made images no nearer to the training images than these to each other, and C_T's z, in a dict.

    `real` images are held-out ones; `update_train` takes the training images, which stay where real ones do.
    References: Alaa et al. (2022), How faithful is your synthetic data?; Meehan, Chaudhuri and Dasgupta (2020), A
    non-parametric test to detect data-copying in generative models.
    """

    higher_is_better = True
    kind = memorisation.Memorisation
    sides = ("real", "fake", "train")
    outputs = ("auth_pct", "c_t")

    def update_train(self, imgs: Tensor) -> None:
        """Take in a batch of training images; see `update`."""
        self.take(imgs, "train")
        self._computed = None


def pixels_of(imgs: Tensor, normalize: bool) -> Pixels:
    """uint8 images as they are; with `normalize`, round(255 x) of floats in [0, 1], so that every saved level survives.

    Raises: ShapeError: another type, or not [N, C, H, W]. DataError: a float outside [0, 1], or NaN.

    Example:
        >>> pixels_of(torch.tensor([[[[0.0, 0.2, 1.0]]]]), normalize=True).flatten().tolist()
        [0, 51, 255]
    """
    if imgs.ndim != 4 or not (imgs.is_floating_point() if normalize else imgs.dtype == torch.uint8):
        wanted = "floats in [0, 1], as normalize=True says" if normalize else "uint8; for floats set normalize=True"
        raise ShapeError(f"images [N, C, H, W] are to be {wanted}; got {imgs.dtype} of shape {tuple(imgs.shape)}")
    if not normalize:
        return imgs
    if not bool(((imgs >= 0) & (imgs <= 1)).all()):
        low, high = (float(limit) for limit in imgs.aminmax())
        raise DataError(f"floats are to be in [0, 1]; got {low:.6g} to {high:.6g}; rescale or clamp them")
    return (imgs.float() * PEAK).round().to(torch.uint8)
