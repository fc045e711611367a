"""The engine of diffusions: a network learns what is in a noisy image, and a walk takes the noise away step by step.

`ddpm`, `edm` and `flow_matching` are short files that set its defaults. What is predicted, how levels of noise are scheduled,
taught and weighted, and by which walk images are drawn are slots, not other families.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.errors import ConfigError
from sfumato.families.base import Batch, Family, Objective, Player, Stage, Terms, weighted_mean, weights
from sfumato.families.bound import bound
from sfumato.families.denoisers import DenoisingNetwork, Modern
from sfumato.families.learned_variance import hybrid, step_variance
from sfumato.families.optimizers import AdamW, Optimizer
from sfumato.families.predictions import X0, Prediction
from sfumato.families.time_laws import EvenTimes, TimeLaw
from sfumato.families.weightings import Even, Weighting
from sfumato.images import Images, Size
from sfumato.kinds import build, choice
from sfumato.maths.diffusion import diffuse
from sfumato.networks.condition import NOTHING, Condition
from sfumato.networks.noisy_classifier import NoisyClassifier
from sfumato.samplers.base import Sampler
from sfumato.samplers.ddim import DDIM
from sfumato.samplers.denoiser import Denoised, Denoiser, From, Times, classifier_free, guided, watched
from sfumato.samplers.ode import ode_log_prob
from sfumato.samplers.schedules import Cosine, Schedule
from sfumato.streams import Rngs, device_of, normals
from sfumato.tasks.base import Observation

See = Callable[[float, Images], None]
"""Is shown the time and the expected clean image at every look of a walk."""


class DiffusionConfig(Strict):
    """What every diffusion can be told."""

    width: float = Field(default=32, gt=0)
    """Channels of the widest map; parity solves for it."""
    embedding: int | None = Field(default=None, ge=4)
    """Length of the vector that tells every block the time; parity's fine knob. Left out: four times the width."""
    network: Annotated[Any, choice(DenoisingNetwork, "unet")] = Modern.Config()
    """unet (modern) or published (paper 000)."""
    schedule: Annotated[Any, choice(Schedule, "cosine")] = Cosine.Config()
    """How noise rises with time: linear, cosine or betas, each with its number of steps T; rectified, edm, ve, vp; shifted."""
    prediction: Annotated[Any, choice(Prediction, "x0")] = X0.Config()
    """What the network says: eps, x0, v, direction or preconditioned; x0 is the surest at small budgets (docs/results.md)."""
    times: Annotated[Any, choice(TimeLaw, "even")] = EvenTimes.Config()
    """At which times it is taught: even, log_normal or logit_normal."""
    weighting: Annotated[Any, choice(Weighting, "even")] = Even.Config()
    """How much each level counts: even (of what is predicted), simple, min_snr, p2 or learned."""
    reconstruction: float = Field(default=0.0, ge=0.0)
    """Weight of the mean absolute error of the expected clean image, as restorers by regression and WGANs here have it."""
    variance: Literal["fixed", "learned"] = "fixed"
    """learned: the network says the variance of a step too, for `ancestral` on all levels and for the bound (on a grid)."""
    sampler: Annotated[Any, choice(Sampler, "ddim")] = DDIM.Config()
    """ancestral, ddim, heun, dpm_solver_pp or unipc, each with any number of steps."""
    walked: Annotated[Any, choice(Schedule)] | None = None
    """Another schedule to draw by, as of another T than that of the training; null: the one it was trained on."""
    told: Literal["noise", "index"] = "noise"
    """What the network hears on `walked`: the trained time of as much noise, or its own of the same index (paper 001)."""
    impose: bool = True
    """Put the known pixels into the expected clean image at every step of sampling."""
    clip: bool = True
    """Clamp the expected clean image to [-1, 1] at every step of sampling; a solver that combines answers never sees it."""
    conditioning_noise: float = Field(default=0.0, ge=0.0, le=1.0)
    """The most noise, as a share, that is put into what is observed while it learns, and told; so what another model drew, as
    in a cascade, serves as well as what was measured. 0: none."""
    conditioning_level: float = Field(default=0.0, ge=0.0, le=1.0)
    """How much of it is put there to draw, where it learnt with some."""
    labels: bool = False
    """Tell the network the class of each image; the data must have labels."""
    label_dropout: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of the training images whose class is not told, so that guidance has something to compare with."""
    guides: Literal["free", "classifier"] = "free"
    """What guides to a told class: free, the network itself, which hears the class or does not; or a classifier of noisy images
    that is trained beside one that hears none."""
    guidance: float = Field(default=1.0, ge=0.0)
    """Scale of the guidance: free, 1 is the network that hears the class; of a classifier, 1 is Bayes' rule, 0 none."""
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    """The times between which guidance acts."""
    likelihood: Literal["bound", "ode"] = "bound"
    """How log p is taken: the variational bound, or an estimate by the flow of probability, which costs a hundred calls."""
    optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config(lr=1e-3, clip=1.0)
    """How the weights move."""


class Diffusion(Family, abstract=True):
    """E w(t) |target - net(x_t, t, condition)|^2, x_t = alpha(t) x_0 + sigma(t) eps, over the pixels the task names.

    The network sees x_t at variance about 1. For restoration it sees the condition beside x_t, and sampling imposes the known
    pixels (Saharia et al., 2022, Palette).
    """

    exact = False

    @classmethod
    def refuses(cls, config: Any, observation: Observation) -> str:
        """What its network could not be shown: more than known pixels, or a mask under noise of its own."""
        hides = observation.operator.hides
        if config.conditioning_noise and hides:
            return "conditioning_noise is for pictures that are enlarged: it would hide the mask; set it to 0"
        if observation.empty or (hides and observation.noise == 0) or not build(config.network).masks_only:
            return ""
        return "it is shown pixels that are known exactly and nothing else; take inpainting, outpainting or generation"

    def build(self) -> None:
        """The network, and the slots."""
        config = self.config
        self.schedule: Schedule = build(config.schedule)
        self.prediction: Prediction = build(config.prediction)
        self.time_law: TimeLaw = build(config.times)
        self.weighting: Weighting = build(config.weighting)
        self.sampler: Sampler = build(config.sampler)
        self.walked: Schedule = self.schedule if config.walked is None else build(config.walked)
        self.learns_variance = config.variance == "learned"
        if self.learns_variance and self.schedule.grid is None:
            raise ConfigError("variance = 'learned' is of the steps of a grid; set schedule to linear, cosine or betas")
        if config.told == "index" and (self.schedule.grid is None or self.walked.grid is None):
            raise ConfigError(
                "told = 'index' counts the steps of two grids; set schedule and walked to linear or cosine"
            )
        slot: DenoisingNetwork = build(config.network)
        self.classifies = self.labelled and config.guides == "classifier"
        labels = self.spec.classes + 1 if self.labelled and not self.classifies else 0
        outputs = self.spec.channels * (2 if self.learns_variance else 1)
        self.network: nn.Module = slot.network(self.spec, config.width, labels, config.embedding, outputs)
        if self.classifies:
            self.classifier = NoisyClassifier(self.spec.channels, self.spec.classes, self.spec.size, config.width)

    def players(self, stage: Stage) -> Sequence[Player]:
        """One player, one loss; a classifier is a second one, on the same images."""
        group = weights(self.network, self.weighting)
        denoiser = Player("denoiser", [group], [Objective(self.loss)], self.config.optimizer)
        if not self.classifies:
            return [denoiser]
        told = [Objective(self.classified)], self.config.optimizer
        return [denoiser, Player("classifier", [weights(self.classifier)], *told, fresh=False, in_budget=False)]

    def deployed(self) -> Sequence[nn.Module]:
        """The network, and the classifier that guides it; weights of levels are for training."""
        return (self.network, self.classifier) if self.classifies else (self.network,)

    def classified(self, batch: Batch) -> Terms:
        """-log p(class | x_t) of the classifier, at a random time."""
        t = self.time_law.draw(self.schedule, len(batch.x), batch.rng)
        eps = torch.randn(batch.x.shape, generator=batch.rng, device=batch.x.device)
        x_t = diffuse(batch.x, eps, *self.coefficients(t, batch.x))
        logits = self.classifier(x_t / self.length(t, batch.x), t.float())
        return {"classification": F.cross_entropy(logits.float(), batch.condition.label)}  # type: ignore[arg-type]

    def log_class(self, label: Int[Tensor, " B"], x_t: Images, t: Times) -> Float[Tensor, " B"]:
        """log p(class | x_t), which the classifier says; 0 where no class is told."""
        logits = self.classifier(x_t / self.length(t, x_t, self.walked), self.heard(t).float())
        said = torch.cat([logits.log_softmax(1), logits.new_zeros(len(x_t), 1)], 1)
        return said.gather(1, label[:, None])[:, 0]

    def paired(self, batch: Batch) -> Images:
        """The noise of each image."""
        return torch.randn(batch.x.shape, generator=batch.rng, device=batch.x.device)

    def loss(self, batch: Batch) -> Terms:
        """The weighted squared error of the prediction at a random time."""
        x_0, rng = batch.x, batch.rng
        t = self.time_law.draw(self.schedule, len(x_0), rng)
        eps = self.paired(batch)
        alpha, sigma = self.coefficients(t, x_0)
        x_t = diffuse(x_0, eps, alpha, sigma)
        told = self.forgetful(batch)
        if self.config.conditioning_noise and told.image is not None:
            share = self.config.conditioning_noise * torch.rand(len(x_0), generator=rng, device=x_0.device)
            told = noised(told, share, torch.randn(x_0.shape, generator=rng, device=x_0.device))
        output, said = self.answer(x_t / self.length(t, x_0), t, told)
        error = (output - self.prediction.target(x_0, eps, alpha, sigma)).square()
        a, s = self.schedule.alpha(t), self.schedule.sigma(t)
        error = self.weighting.weighted(error, (a / s) ** 2, self.prediction.gain(a, s))
        terms = {"denoising": weighted_mean(error, batch.observation.weight)}
        expected = self.prediction.x_0(output, x_t, alpha, sigma)
        if self.config.reconstruction:
            off = (expected - x_0).abs()
            terms["reconstruction"] = self.config.reconstruction * weighted_mean(off, batch.observation.weight)
        if said is not None:
            apart = hybrid(self.schedule, t, x_0, expected.detach(), said)
            terms["variance"] = weighted_mean(apart, batch.observation.weight)
        return terms

    def answer(self, x: Images, t: Times, condition: Condition) -> tuple[Images, Images | None]:
        """What the network predicts of images at variance about 1, and what it says of the variance where it does."""
        output = self.network(x, t.float(), condition)
        if not self.learns_variance:
            return output, None
        first, second = output.chunk(2, 1)
        return first, second

    def forgetful(self, batch: Batch) -> Condition:
        """The condition, with some labels taken away."""
        told = batch.condition
        if told.label is None or self.config.label_dropout == 0:
            return told
        lost = torch.rand(len(batch.x), generator=batch.rng, device=batch.x.device) < self.config.label_dropout
        return Condition(told.image, torch.where(lost, self.spec.classes, told.label))

    def coefficients(self, t: Times, like: Images, schedule: Schedule | None = None) -> tuple[Tensor, Tensor]:
        """alpha and sigma, ready to multiply images."""
        schedule = schedule or self.schedule
        return shown(schedule.alpha(t), like), shown(schedule.sigma(t), like)

    def length(self, t: Times, like: Images, schedule: Schedule | None = None) -> Tensor:
        """The standard deviation of x_t for images of variance 1; to the last bit 1 where variance is preserved."""
        schedule = schedule or self.schedule
        return shown((schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2).sqrt(), like)

    def untold(self, n: int, rng: Rngs) -> Int[Tensor, " n"]:
        """The label after the last class."""
        return torch.full((n,), self.spec.classes, dtype=torch.int64, device=device_of(rng))

    def denoiser(self, condition: Condition = NOTHING) -> Denoiser:
        """E[x_0 | x_t, condition], as the network has it, on the schedule to draw by."""

        def call(x_t: Images, t: Times) -> Denoised:
            alpha, sigma = self.coefficients(t, x_t, self.walked)
            heard = self.heard(t)
            output, said = self.answer(x_t / self.length(t, x_t, self.walked), heard, condition)
            variance = None if said is None else step_variance(self.schedule, heard, said)
            return Denoised(self.prediction.x_0(output, x_t, alpha, sigma), step_variance=variance)

        return From(self.walked, call)

    def heard(self, t: Times) -> Times:
        """The time that the network is told, on whatever schedule."""
        if self.walked is self.schedule:
            return t
        if self.config.told == "index":
            assert self.walked.grid is not None and self.schedule.grid is not None
            return t * self.walked.grid / self.schedule.grid
        return self.schedule.time_at(self.walked.sigma(t) / self.walked.alpha(t))

    def guided(self, condition: Condition, rng: Rngs) -> Denoiser:
        """The denoiser with guidance, where a class is told and guidance is on."""
        told, label, scale = self.denoiser(condition), condition.label, self.config.guidance
        if label is not None and self.classifies:
            within = self.config.guidance_interval
            return told if scale == 0 else guided(told, lambda x, t: self.log_class(label, x, t), scale, within)
        if label is None or scale == 1.0:
            return told
        free = Condition(condition.image, self.untold(len(label), rng))
        return classifier_free(told, self.denoiser(free), scale, self.config.guidance_interval)

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        """Walk from noise to n images."""
        return self.walk(n, condition, size, rng)

    def walk(self, n: int, condition: Condition, size: Size, rng: Rngs, see: See | None = None) -> Images:
        """The same, shown on the way."""
        if self.config.conditioning_noise > 0 and condition.image is not None:
            share = torch.full((n,), self.config.conditioning_level, device=device_of(rng))
            condition = noised(condition, share, normals(rng, n, self.spec.channels, *size))
        inner = self.guided(condition, rng)
        clip = self.config.clip and not self.sampler.combines

        def call(x_t: Images, t: Times) -> Denoised:
            told = inner(x_t, t)
            x_0 = told.mean.clamp(-1.0, 1.0) if clip else told.mean
            x_0 = condition.imposed(x_0) if self.config.impose else x_0
            return Denoised(x_0, told.variance, told.step_variance)

        denoiser: Denoiser = From(self.walked, call)
        x_1 = self.walked.spread * normals(rng, n, self.spec.channels, *size)
        return self.sampler.sample(denoiser if see is None else watched(denoiser, see), x_1, rng)

    def calls(self) -> int:
        """The sampler's steps, each with two calls under guidance without a classifier."""
        twice = self.labelled and not self.classifies and self.config.guidance != 1.0
        return self.sampler.calls(self.walked) * (2 if twice else 1)

    @torch.no_grad()
    def log_prob(self, x: Images, condition: Condition, rng: Rngs) -> Float[Tensor, " B"]:
        """The bound, or an unbiased estimate of the density of the flow of probability, in nats."""
        if self.config.likelihood == "ode":
            return ode_log_prob(self.denoiser(condition), x, rng)
        return -sum(bound(self.denoiser(condition), x, rng).values(), torch.zeros(()))


def noised(condition: Condition, share: Float[Tensor, " B"], eps: Images) -> Condition:
    """sqrt(1 - share^2) preview + share eps, nowhere known, and -share in the place of known pixels.

    Reference: Ho et al. (2022), Cascaded diffusion models for high fidelity image generation, section 4.2.
    """
    assert condition.image is not None
    share = share.view(-1, 1, 1, 1).to(eps.dtype)
    preview = (1 - share**2).sqrt() * condition.image[:, :-1] + share * eps
    return Condition(torch.cat([preview, -share.expand_as(preview[:, :1])], 1), condition.label)


def shown(coefficient: Tensor, like: Images) -> Tensor:
    """Ready to multiply images: in their precision, one number an image or a map of them."""
    part = coefficient.to(like.dtype)
    return part if part.ndim > 1 else part.view(-1, 1, 1, 1)
