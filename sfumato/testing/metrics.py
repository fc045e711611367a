"""The check of metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from sfumato.config import Strict
from sfumato.errors import ShapeError
from sfumato.images import PEAK, Pixels, to_float
from sfumato.kinds import build
from sfumato.metrics.base import Metric, Score
from sfumato.streams import stream
from sfumato.tasks.base import Observation
from sfumato.tasks.down_sampling import BlockMean
from sfumato.tasks.operators import Masking, Nothing
from sfumato.testing.configs import check_config
from sfumato.testing.parts import (
    configured,
    no_global_random,
    observed,
    pictures,
    raises,
    require,
)


def check_metric(kind: str | Strict) -> None:
    """A metric ranks right, does not see the batch size, and gives scores that can be trusted.

    Held on a mask, a down-sampling and nothing, where the metric applies: the true images score best and more noise scores
    worse (where the metric says `truth_is_best`); batches of 1, 4 and 7 give what one of 12 gives; the interval holds the
    value; every score survives JSON.

    Raises: AssertionError: the first promise that is broken.
    """
    config = configured(Metric, kind)
    check_config(config)
    raises(ShapeError, lambda: build(config).compute(), f"{config.kind}: compute without images must raise ShapeError")
    n, size = 12, 16
    true = pictures(n, 3, size)
    noise = torch.randn(true.shape, generator=stream(0, "noise"))
    made = [(true + level * noise).round().clamp(0, PEAK).byte() for level in (0.0, 8.0, 24.0, 72.0)]
    known = torch.ones(n, 1, size, size)
    known[:, :, 4:12, 4:12] = 0.0
    used = 0
    for operator in (Masking(known), BlockMean(n, (size, size), 4), Nothing(n, (size, size))):
        observation = observed(operator, to_float(true))
        if not build(config).applies(observation):
            continue
        used += 1
        name = f"{config.kind} on {type(operator).__name__}"
        with no_global_random(name):
            every = [_scores(config, one, true, observation, [n]) for one in made]
        for score in (score for some in every for score in some):
            _check_score(score, n, name)
        parts = _scores(config, made[2], true, observation, [1, 4, 7])
        for part, whole in zip(parts, every[2], strict=True):
            close = math.isclose(part.value, whole.value, rel_tol=1e-4, abs_tol=1e-6)
            require(close, f"{name}: {part.value} in batches of 1, 4, 7 but {whole.value} in one of {n}")
        scores = [some[0] for some in every]
        if not config.owner.truth_is_best:
            continue
        values = [score.loss() for score in scores]
        text = ", ".join(f"{score.value:.4g}" for score in scores)
        require(values == sorted(values), f"{name}: truth and rising noise score {text}; {scores[0].better} is better")
        require(values[0] < values[-1], f"{name}: heavy noise scores as well as the truth ({text})")
    require(used > 0 or config.owner.needs is not None, f"{config.kind} applies to no observation")


def _scores(config: Strict, made: Pixels, true: Pixels, observation: Observation, parts: Sequence[int]) -> list[Score]:
    metric: Metric = build(config)
    if metric.wants_train:
        metric.train(true.flip(3))
    start = 0
    for count in parts:
        piece = slice(start, start + count)
        answers = made[piece] if metric.draws == 1 else torch.stack([made[piece]] * metric.draws)
        metric.update(answers, true[piece], observation.pick(piece))
        start += count
    scores = metric.scores()
    require(scores[0] == metric.compute(), f"{metric.label}: compute must be the first of scores")
    return scores


def _check_score(score: Score, n: int, name: str) -> None:
    require(score.n == n, f"{name}: n is {score.n} for {n} images")
    inside = score.low is not None and score.high is not None and score.low <= score.value <= score.high
    require(inside, f"{name}: the interval {score.low} to {score.high} does not hold the value {score.value}")
    require(bool(score.label and score.unit and score.card), f"{name}: label, unit and card must say what was measured")
    require(Score.model_validate_json(score.to_json()) == score, f"{name}: the score does not survive JSON")
