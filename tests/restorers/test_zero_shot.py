"""Each zero-shot restorer: one step by hand from its paper, and its whole walk against the posterior of a normal law."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sfumato.data.base import DataSpec
from sfumato.errors import CapabilityError
from sfumato.families.gaussian import Gaussian
from sfumato.kinds import build, discover, parse
from sfumato.maths.mixture import Mixture
from sfumato.posteriors import sampled
from sfumato.restorers.base import Restorer
from sfumato.restorers.exact import Normal, judged, matrix_of, posterior, walked
from sfumato.restorers.zero_shot import ZeroShot
from sfumato.samplers.denoiser import Denoised, From
from sfumato.samplers.exact import denoiser_of
from sfumato.samplers.schedules import Schedule
from sfumato.streams import normals, stream
from sfumato.tasks.base import Observation
from sfumato.tasks.down_sampling import BlockMean
from sfumato.tasks.operators import Identity, Masking
from sfumato.training.run import make_family

METHODS = sorted(name for name, kind in discover(Restorer).items() if issubclass(kind, ZeroShot))
SD, SIZE = 0.5, (4, 4)
KNOWN = torch.ones(1, 1, *SIZE, dtype=torch.float64)
KNOWN[:, :, 1:3, 1:4] = 0
COSINE: Schedule = build(parse(Schedule, "cosine"))


def method(settings: Any, size: tuple[int, int] = SIZE) -> ZeroShot:
    family = make_family(Gaussian.Config(), DataSpec(channels=1, size=size), 0)
    return build(parse(Restorer, settings), family)  # type: ignore[no-any-return]


def grey(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


# One step by hand: two pixels N(0, SD^2), each for itself, the first seen. Every number below is from the paper's formula.

X, Y, NOISE = np.array([0.7, -0.4]), 0.9, 0.2
T, S = 0.5, 0.3


def step(settings: Any, noise: float, t: float = T, s: float = S) -> tuple[np.ndarray, list[np.ndarray]]:
    """x_s, and the numbers that a step may have drawn, in order."""
    known = grey([1.0, 0.0])
    observation = Observation(grey([Y, 0.0]), Masking(known), known, noise)
    denoiser = denoiser_of(Mixture.round(torch.ones(1), torch.zeros(1, 2), SD), COSINE)
    restorer = method(settings, (1, 2))
    made = restorer.step(denoiser, observation, grey(list(X)), t, s, [stream(0, "hand")], [])
    rng = [stream(0, "hand")]
    return made.flatten().numpy(), [normals(rng, 1, 1, 1, 2).flatten().double().numpy() for _ in range(3)]


def levels(t: float) -> tuple[float, float]:
    bar = (math.cos((t + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)) ** 2
    return math.sqrt(bar), math.sqrt(1 - bar)


def clean(x: np.ndarray, t: float) -> np.ndarray:
    a, s = levels(t)
    return np.asarray(a * SD**2 / (a**2 * SD**2 + s**2) * x)


def ancestral(x: np.ndarray, x_0: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean and deviation of q(x_s | x_t, x_0) by Bayes: precision by precision."""
    (a_t, s_t), (a_s, s_s) = levels(T), levels(S)
    r = a_t / a_s
    beta = s_t**2 - r**2 * s_s**2
    variance = 1 / (1 / s_s**2 + r**2 / beta)
    return variance * (a_s * x_0 / s_s**2 + r * x / beta), math.sqrt(variance)


def near(made: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(made, expected, rtol=1e-9, atol=1e-9)


def test_a_step_of_repaint() -> None:
    made, (one, two, _) = step("repaint", 0.0)
    mean, sd = ancestral(X, clean(X, T))
    a, s = levels(S)
    near(made, np.array([a * Y + s * two[0], mean[1] + sd * one[1]]))
    up, (one, *_) = step("repaint", 0.0, S, T)
    (a_t, s_t), (a_s, s_s) = levels(T), levels(S)
    near(up, a_t / a_s * X + math.sqrt(s_t**2 - (a_t / a_s * s_s) ** 2) * one)


@pytest.mark.parametrize("noise", [0.0, NOISE])
def test_a_step_of_diffpir(noise: float) -> None:
    made, (one, *_) = step({"kind": "diffpir", "lam": 7.0, "zeta": 0.25}, noise)
    (a_t, s_t), (a_s, s_s) = levels(T), levels(S)
    x_0, rho = clean(X, T), 7.0 * noise**2 / (s_t / a_t) ** 2
    x = np.array([(Y + rho * x_0[0]) / (1 + rho), x_0[1]])
    eps = (X - a_t * x) / s_t
    near(made, a_s * x + s_s * (math.sqrt(0.75) * eps + math.sqrt(0.25) * one))


def test_a_step_of_dps() -> None:
    made, (one, *_) = step({"kind": "dps", "zeta": 0.3}, NOISE)
    mean, sd = ancestral(X, clean(X, T))
    gain = clean(np.ones(2), T)[0]
    slope = np.array([-gain * np.sign(Y - gain * X[0]), 0.0])  # of |Y - gain x|
    near(made, mean - 0.3 * slope + sd * one)


@pytest.mark.parametrize("noise", [0.0, NOISE])
def test_a_step_of_ding(noise: float) -> None:
    made, (one, two, _) = step("ding", noise)
    (a_t, s_t), (a, s) = levels(T), levels(S)
    x_0 = clean(X, T)
    spread = (a + s) * (s / (a + s)) ** 2  # (1 - alpha) sigma on the straight path
    mean = a * x_0 + math.sqrt(s**2 - spread**2) * (X - a_t * x_0) / s_t
    z = mean + spread * one
    seen = a * Y + s * ((z - a * clean(z, S)) / s)[0]
    expected = mean + spread * two
    if noise:
        variance = 1 / (1 / spread**2 + 1 / (a * noise) ** 2)
        expected[0] = variance * (mean[0] / spread**2 + seen / (a * noise) ** 2) + math.sqrt(variance) * two[0]
    else:
        expected[0] = seen
    near(made, expected)


@pytest.mark.parametrize("noise", [0.0, NOISE])
@pytest.mark.parametrize("uncertain", [False, True])
def test_a_step_of_flower(noise: float, uncertain: bool) -> None:
    made, (one, two, three) = step({"kind": "flower", "uncertain": uncertain}, noise)
    (a_t, s_t), (a_s, s_s) = levels(T), levels(S)
    r, x_0, y, last = s_t / math.hypot(a_t, s_t), clean(X, T), Y, one
    if uncertain:
        x_0, y, last = x_0 + r * one, Y + noise * two[0], three
    x = np.array([(r**2 * y + noise**2 * x_0[0]) / (r**2 + noise**2), x_0[1]])
    near(made, a_s * x + s_s * last)


def test_a_step_of_sdedit_is_ddim_in_agreement_and_it_begins_with_the_guess() -> None:
    made, _ = step("sdedit", 0.0)
    (a_t, s_t), (a_s, s_s) = levels(T), levels(S)
    x = np.array([Y, clean(X, T)[1]])
    near(made, a_s * x + s_s * (X - a_t * x) / s_t)
    restorer = method({"kind": "sdedit", "noise": 0.7, "calls": 12}, (1, 2))
    moves = restorer.moves(COSINE)
    assert len(moves) == 12 and moves[-1][1] == 0
    alpha, sigma = COSINE.at(moves[0][0])
    assert sigma / alpha == pytest.approx(0.7, rel=2e-3)
    known = grey([1.0, 1.0]).expand(4000, 1, 1, 2)
    observation = Observation(grey([Y, -0.2]).expand_as(known), Masking(known), known)
    begun = restorer.begin(observation, COSINE, known, stream(0, "b"))
    torch.testing.assert_close(begun.mean(0).flatten(), alpha * grey([Y, -0.2]).flatten(), atol=0.04, rtol=0)
    assert float(begun.std(0).mean()) == pytest.approx(sigma, rel=0.03)


def test_a_step_of_flower_on_straight_paths() -> None:
    known, straight = grey([1.0, 0.0]), build(parse(Schedule, "rectified"))
    observation = Observation(grey([Y, 0.0]), Masking(known), known, NOISE)
    denoiser = denoiser_of(Mixture.round(torch.ones(1), torch.zeros(1, 2), SD), straight)
    made = method("flower", (1, 2)).step(denoiser, observation, grey(list(X)), 0.6, 0.0, [stream(0, "hand")], [])
    gain = 0.4 * SD**2 / (0.16 * SD**2 + 0.36)
    r = 0.6 / math.hypot(0.4, 0.6)
    first = (r**2 * Y + NOISE**2 * gain * X[0]) / (r**2 + NOISE**2)
    near(made.flatten().numpy(), np.array([first, gain * X[1]]))


@pytest.mark.parametrize("schedule", ["cosine", "edm", {"kind": "linear", "steps": 20}])
@pytest.mark.parametrize("calls", [1, 2, 5, 25, 1001])
def test_sdedit_begins_at_its_noise_whatever_its_calls(schedule: Any, calls: int) -> None:
    noise: Schedule = build(parse(Schedule, schedule))
    moves = method({"kind": "sdedit", "noise": 0.7, "calls": calls}).moves(noise)
    alpha, sigma = noise.at(moves[0][0])
    assert sigma / alpha == pytest.approx(0.7, rel=0.25 if noise.grid == 20 else 0.01)
    assert moves[-1][1] == 0 and all(s < t for t, s in moves)
    assert 0 < len(moves) <= calls and (len(moves) == calls or noise.grid is not None)


def test_a_step_of_dps_means_the_same_on_every_path() -> None:
    """Straight paths are cosine ones of another time, brought to other lengths."""
    straight: Schedule = build(parse(Schedule, "rectified"))
    known, law = grey([1.0, 0.0]), Mixture.round(torch.ones(1), torch.zeros(1, 2), SD)
    observation = Observation(grey([Y, 0.0]), Masking(known), known)
    ends = []
    for schedule in (COSINE, straight):
        t, s = (float(schedule.time_at(torch.tensor([ratio]).double())) for ratio in (3.0, 0.8))
        x = grey(list(X)) * math.hypot(*schedule.at(t))
        made = method({"kind": "dps", "zeta": 2.0}, (1, 2)).step(
            denoiser_of(law, schedule), observation, x, t, s, [stream(0, "hand")], []
        )
        ends.append(made / math.hypot(*schedule.at(s)))
    torch.testing.assert_close(ends[0], ends[1], rtol=5e-3, atol=5e-3)  # a grid has no time of just that noise


@pytest.mark.parametrize("sampler", ["ddim", "heun", "predictor_corrector", "langevin"])
@pytest.mark.parametrize("calls", [4, 11, 50])
def test_ddnm_asks_no_more_than_it_may(sampler: str, calls: int) -> None:
    config = parse(Restorer, {"kind": "ddnm", "sampler": sampler})
    restorer = build(
        config.owner.within(config, calls), make_family(Gaussian.Config(), DataSpec(channels=1, size=4), 0)
    )
    assert 0 < restorer.cost(COSINE) <= calls


@pytest.mark.parametrize(("schedule", "sd"), [("rectified", 1.0), ("edm", 80.0)])
@pytest.mark.parametrize("name", [name for name in METHODS if name != "sdedit"])
def test_walks_begin_with_as_much_noise_as_the_schedule_ends_in(name: str, schedule: str, sd: float) -> None:
    known = torch.ones(500, 1, *SIZE)
    observation = Observation(known, Masking(known), known)
    begun = method(name).begin(observation, build(parse(Schedule, schedule)), known, stream(0, "b"))
    assert float(begun.std()) == pytest.approx(sd, rel=0.03)


# The whole walk.

PLACES = torch.stack([torch.arange(16) // 4, torch.arange(16) % 4], 1).double()
LAW = Mixture.of(torch.ones(1), torch.full((1, 16), 0.1), 0.25 * (-torch.cdist(PLACES, PLACES) / 2).exp()[None])


def measured(operator: Any, noise: float, n: int = 3) -> tuple[Tensor, Normal]:
    a = matrix_of(operator, (1, *SIZE))
    y = LAW.draw(n, stream(0, "x")) @ a.T + noise * normals(stream(0, "n"), n, len(a)).double()
    return y, posterior(LAW, a, y, noise)


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("name", [name for name in METHODS if name != "dps"])
def test_formulas_say_what_draws_say(name: str, noise: float) -> None:
    n, settings = 6000, {"kind": "flower", "uncertain": True} if name == "flower" else name
    config = parse(Restorer, settings)
    restorer: ZeroShot = build(type(config).owner.within(config, 20), method(settings).family)  # type: ignore[attr-defined]
    for operator in (Masking(KNOWN), BlockMean(1, SIZE, 2)):
        if not restorer.answers(operator):
            continue
        y, _ = measured(operator, noise, 2)
        law = walked(restorer, denoiser_of(LAW, COSINE), operator, y, (1, *SIZE), noise)
        many = operator.pick(torch.zeros(n, dtype=torch.int64))
        shape = many.forward(torch.zeros(n, 1, *SIZE, dtype=torch.float64)).shape
        observation = Observation(y[1].expand(n, -1).reshape(shape), many, torch.ones_like(many.known), noise)
        like = torch.empty(n, 1, *SIZE, dtype=torch.float64)
        made = observation.project(restorer.walk(denoiser_of(LAW, COSINE), observation, like, stream(0, "w")))
        torch.testing.assert_close(made.flatten(1).mean(0), law.means[1], atol=0.03, rtol=0)
        torch.testing.assert_close(made.flatten(1).T.cov(), law.covariance, atol=0.03, rtol=0)


def distances(settings: Any, noise: float, operator: Any) -> Any:
    y, true = measured(operator, noise)
    return judged(walked(method(settings), denoiser_of(LAW, COSINE), operator, y, (1, *SIZE), noise), true)


def test_what_reaches_the_posterior_and_what_does_not() -> None:
    mask = Masking(KNOWN)
    flower = [distances({"kind": "flower", "uncertain": True, "calls": n}, 0.2, mask).distance for n in (10, 40, 160)]
    assert flower[0] > 1.4 * flower[1] > 1.9 * flower[2], "an approximate posterior sampler comes nearer with its steps"
    assert flower[2] < 0.025
    once = distances({"kind": "repaint", "calls": 60, "repeats": 1, "jump": 5}, 0.0, mask)
    often = distances({"kind": "repaint", "calls": 600, "repeats": 10, "jump": 5}, 0.0, mask)
    assert often.distance < 0.03 < 0.08 < once.distance, "going back and forth is what makes RePaint a sampler"
    plain, whole = (distances({"kind": "flower", "uncertain": told}, 0.2, mask) for told in (False, True))
    assert plain.spread < 0.75 < 0.95 < whole.spread < 1.1, "a mean in place of a draw is too sure"
    assert plain.coverage < 0.8 and whole.coverage == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_draws_are_judged_as_formulas_are(noise: float) -> None:
    restorer, operator = method({"kind": "flower", "calls": 20}), Masking(KNOWN)
    y, true = measured(operator, noise)
    asked: Any = (restorer, denoiser_of(LAW, COSINE), operator, y, (1, *SIZE), noise)
    known, found = judged(walked(*asked), true), sampled(*asked, true, 0)
    assert found.distance == pytest.approx(known.distance, abs=4 * found.error) and 0 < found.error < 0.02
    assert found.mean == pytest.approx(known.mean, rel=0.1)
    assert found.spread == pytest.approx(known.spread, rel=0.03)
    assert found.coverage == pytest.approx(known.coverage, abs=0.02)


def test_the_posterior_itself_is_at_distance_nothing() -> None:
    for operator, noise in ((Masking(KNOWN), 0.0), (Masking(KNOWN), 0.2), (Identity(1, SIZE), 0.3)):
        _, true = measured(operator, noise)
        found = judged(true, true)
        assert found.distance < 1e-6 and found.mean == 0
        assert found.spread == pytest.approx(1) and found.coverage == pytest.approx(0.9)
    shifted = judged(Normal(true.means + 0.1, true.covariance), true)
    assert shifted.distance == pytest.approx(0.1, rel=1e-6) and shifted.coverage < 0.9
    wide = judged(Normal(true.means, 4 * true.covariance), true)
    assert wide.spread == pytest.approx(2) and wide.coverage > 0.99
    assert wide.distance == pytest.approx(math.sqrt(float(true.covariance.trace()) / 16), rel=1e-6)


def test_the_posterior_by_sampling_the_prior() -> None:
    """Draws of (x, y) whose y happens to be near: regression of x on y is the posterior's mean, what is left its covariance."""
    operator, noise = BlockMean(1, SIZE, 2), 0.1
    a = matrix_of(operator, (1, *SIZE))
    x = LAW.draw(60_000, stream(0, "prior"))
    y = x @ a.T + noise * normals(stream(0, "more"), len(x), 4).double()
    slope = torch.linalg.lstsq(torch.cat([torch.ones(len(y), 1), y], 1), x).solution
    wanted = torch.tensor([[0.3, -0.2, 0.6, 0.0]], dtype=torch.float64)
    made = posterior(LAW, a, wanted, noise)
    torch.testing.assert_close(made.means[0], slope[0] + wanted[0] @ slope[1:], atol=0.02, rtol=0)
    left = x - slope[0] - y @ slope[1:]
    torch.testing.assert_close(made.covariance, left.T.cov(), atol=0.01, rtol=0)


# What it costs.


@pytest.mark.parametrize("calls", [1, 10, 30, 250])
@pytest.mark.parametrize("name", METHODS)
def test_no_more_calls_than_asked(name: str, calls: int) -> None:
    config = parse(Restorer, name)
    restorer: ZeroShot = build(type(config).owner.within(config, calls), method(name).family)  # type: ignore[attr-defined]
    made = 0

    def counted(x: Tensor, t: Tensor) -> Denoised:
        nonlocal made
        made += 1
        return Denoised(0.5 * x)

    observation = Observation(torch.zeros(1, 1, *SIZE), Masking(KNOWN.float()), KNOWN.float())
    restorer.walk(From(COSINE, counted), observation, torch.empty(1, 1, *SIZE), stream(0, "w"))
    assert made == restorer.calls() <= calls
    assert made > 0.7 * calls, "what may be spent is spent"


def test_the_paper_s_repaint() -> None:
    restorer = method("repaint")
    moves = restorer.moves(COSINE)
    down = [move for move in moves if move[1] < move[0]]
    assert restorer.levels(COSINE) == 250 and len(down) == 2410 == restorer.calls()
    assert all(a[1] == b[0] for a, b in zip(moves, moves[1:], strict=False)), "a walk has no holes"
    low = [round(a[1] * 1000) for a, b in zip(moves, moves[1:], strict=False) if a[1] < a[0] and b[1] > b[0]]
    assert len(low) == 24 * 9
    places = [round(t * 1000) for t in sorted({move[1] for move in down})]
    assert sorted({places.index(t) for t in low}) == list(range(1, 232, 10)), "1, 11 ... 231 levels above the end"


def test_masks_alone_where_a_method_is_for_masks() -> None:
    shrunk = Observation(torch.zeros(1, 1, 2, 2), BlockMean(1, SIZE, 2), torch.ones(1, 1, *SIZE))
    for name in ("repaint", "ding"):
        with pytest.raises(CapabilityError, match="cannot undo BlockMean"):
            method(name).restore(shrunk, rng=stream(0, "s"))
    assert method("flower").restore(shrunk, rng=stream(0, "s")).shape == (1, 1, *SIZE)


@pytest.mark.parametrize("name", METHODS)
def test_every_image_is_restored_for_itself(name: str) -> None:
    """What is drawn for an image does not depend on the batch (DPS's norm, above all)."""
    config = parse(Restorer, name)
    restorer: ZeroShot = build(type(config).owner.within(config, 8), method(name).family)  # type: ignore[attr-defined]
    known = KNOWN.float().expand(3, -1, -1, -1)
    y = known * torch.randn(3, 1, *SIZE, generator=stream(0, "y")).clamp(-1, 1)
    whole = Observation(y, Masking(known), known, 0.1)
    together = restorer.restore(whole, rng=[stream(0, "r", i) for i in range(3)])
    alone = restorer.restore(whole.pick(slice(1, 2)), rng=[stream(0, "r", 1)])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-4)
