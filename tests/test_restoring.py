"""`sfumato.restore` with somebody's own network, and several draws from the command line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import sfumato
from sfumato.errors import CapabilityError, ConfigError, DataError, DivergedError, ShapeError
from sfumato.kinds import build, parse
from sfumato.maths.mixture import Mixture
from sfumato.restorers import fitting
from sfumato.restorers.answerer import answerer_of
from sfumato.restorers.exact import posterior
from sfumato.restorers.picture import restore_picture
from sfumato.samplers.exact import denoiser_of
from sfumato.samplers.schedules import Schedule
from sfumato.tasks.down_sampling import BlockMean

from .cases import call, mask, picture, refused

LAW = Mixture.of(torch.ones(1), torch.full((1, 2), 0.1), torch.tensor([[[0.09, 0.06], [0.06, 0.09]]]))
HOLE = torch.tensor([[False, True]])


def said(x_t: Tensor, alpha: Tensor, sigma: Tensor, what: str) -> Tensor:
    """What a perfect network of that kind would say of images that are `LAW`."""
    a, s = float(alpha.flatten()[0]), float(sigma.flatten()[0])
    x_0 = LAW.denoised(x_t.flatten(1), a, s).view_as(x_t).to(x_t.dtype)
    eps = (x_t - a * x_0) / s
    return {"x0": x_0, "eps": eps, "v": a * eps - s * x_0}[what]


@pytest.mark.parametrize("what", ["eps", "x0", "v"])
@pytest.mark.parametrize("way", [("linear", "index"), ("cosine", "time"), ("edm", "sigma"), ("rectified", "time")])
def test_a_network_of_any_kind_is_the_same_denoiser(what: str, way: Any) -> None:
    schedule, told = way
    noise: Schedule = build(parse(Schedule, schedule))

    def network(x_t: Tensor, t: Tensor) -> Any:
        if told == "index":
            assert t.dtype == torch.int64 and 0 <= int(t.min()) and int(t.max()) < 1000
            time = (t.double() + 1) / 1000
        else:
            time = t.double() if told == "time" else noise.time_at(t.double())
        output = said(x_t, noise.alpha(time), noise.sigma(time), what)
        return output if told == "time" else SimpleNamespace(sample=output) if told == "sigma" else (output, None)

    made = sfumato.denoiser_from(network, schedule, what, told)
    x = torch.randn(5, 1, 1, 2, generator=torch.Generator().manual_seed(0)).double()
    for t in (0.1, 0.5, 0.9):
        time = torch.full((5,), t).double()
        torch.testing.assert_close(made(x, time).mean, denoiser_of(LAW, noise)(x, time).mean, rtol=1e-4, atol=1e-4)


def test_what_is_restored_is_a_draw_of_the_posterior() -> None:
    noise: Schedule = build(parse(Schedule, "linear"))

    def network(x_t: Tensor, index: Tensor) -> Tensor:
        time = (index.double() + 1) / 1000
        return said(x_t, noise.alpha(time), noise.sigma(time), "eps")

    y = torch.tensor([0.4, 0.0]).view(1, 1, 1, 2).expand(3000, -1, -1, -1)
    way = {"kind": "flower", "uncertain": True}
    (made,) = sfumato.restore(network, y, mask=HOLE, method=way, calls=100)
    true = posterior(LAW, torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[0.4]]).double(), 0.0)
    assert torch.equal(made[..., 0], y[..., 0]), "what is known is kept"
    assert float(made[..., 1].mean()) == pytest.approx(float(true.means[0, 1]), abs=0.02)
    assert float(made[..., 1].std()) == pytest.approx(float(true.covariance[1, 1].sqrt()), rel=0.08)
    several = sfumato.restore(network, y[:2], mask=HOLE, method=way, calls=10, draws=3)
    assert several.shape == (3, 2, 1, 1, 2) and float(several[..., 1].std(0).min()) > 0
    assert torch.equal(several[1], sfumato.restore(network, y[:2], mask=HOLE, method=way, calls=10, seed=1)[0])


def test_a_scale_and_any_operator() -> None:
    plain = denoiser_of(Mixture.round(torch.ones(1), torch.zeros(1, 16), 0.4), build(parse(Schedule, "cosine")))
    y = torch.full((2, 1, 2, 2), 0.3)
    (made,) = sfumato.restore(plain, y, scale=2, method="diffpir", calls=20)
    assert made.shape == (2, 1, 4, 4)
    torch.testing.assert_close(BlockMean(2, (4, 4), 2).forward(made), y, atol=1e-3, rtol=0)
    (other,) = sfumato.restore(plain, y, operator=BlockMean(2, (4, 4), 2), method="diffpir", calls=20)
    assert torch.equal(made, other)


@pytest.mark.parametrize(
    ("wish", "error", "words"),
    [
        ({}, ConfigError, "one of mask, scale and operator"),
        ({"mask": HOLE, "scale": 2}, ConfigError, "got mask and scale"),
        ({"mask": HOLE.float()}, ShapeError, "a mask is bool, 1 x 2 or 1 x 1 x 2"),
        ({"mask": torch.ones(3, 3, dtype=torch.bool)}, ShapeError, "a mask is bool, 1 x 2 or 1 x 1 x 2"),
        ({"mask": HOLE, "method": "telea"}, ConfigError, "'telea' does not restore with a denoiser"),
        ({"scale": 2, "method": "repaint", "calls": 5}, CapabilityError, "cannot undo BlockMean"),
        ({"mask": HOLE, "schedule": "edm"}, ConfigError, "has not; use 'time' or 'sigma'"),
        ({"mask": HOLE, "calls": 0}, ConfigError, "calls = 0 is not a whole number of 1 or more"),
        ({"mask": HOLE, "draws": 0}, ConfigError, "draws = 0"),
        ({"scale": 2.0}, ConfigError, "scale = 2.0"),
        ({"mask": HOLE, "noise": -0.1}, ConfigError, "noise = -0.1"),
        ({"mask": HOLE, "noise": float("nan")}, ConfigError, "noise = nan"),
        ({"mask": HOLE, "told": "foo"}, ConfigError, "told = 'foo'"),
        ({"mask": HOLE, "y": torch.zeros(1, 1, 2)}, ShapeError, "give images, channels, rows"),
        ({"mask": HOLE, "y": torch.full((1, 1, 1, 2), 200, dtype=torch.uint8)}, DataError, "uint8"),
        ({"mask": HOLE, "y": torch.full((1, 1, 1, 2), 200.0)}, DataError, "floats up to 200"),
        ({"scale": 2, "y": torch.full((1, 1, 1, 2), float("nan"))}, DataError, "not finite where it was measured"),
        ({"mask": HOLE, "denoiser": 3}, ConfigError, "a int is no network"),
        ({"mask": HOLE, "denoiser": lambda x, t: x * float("nan")}, DivergedError, "does the denoiser say any"),
    ],
)
def test_wishes_that_make_no_sense(wish: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        sfumato.restore(**{"denoiser": lambda x, t: x, "y": torch.zeros(1, 1, 1, 2), **wish})


def test_calls_and_draws_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert call("train", "gaussian", "--data", "digits", "--out", run) == 0
    photo, hole = picture(tmp_path / "p.png", mode="L"), mask(tmp_path / "m.png")
    asked = ["restore", photo, "--model", run, "--mask", hole, "--out", tmp_path / "a.png"]
    capsys.readouterr()
    assert call(*asked, "--method", "diffpir", "--calls", "7", "--draws", "3") == 0
    out = capsys.readouterr().out
    assert "1 part x 3 draws x 7 calls of the network, about 0 s" in out
    assert sorted(path.name for path in tmp_path.glob("a*.png")) == ["a-1.png", "a-2.png", "a-3.png"]
    assert (tmp_path / "a-1.png").read_bytes() != (tmp_path / "a-2.png").read_bytes()
    assert call(*asked, "--restorer", "diffpir", "--calls", "7", "--seed", "1") == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "a-2.png").read_bytes()
    refused(capsys, *asked, "--calls", "7", words="name one, as --method ddnm")
    refused(capsys, *asked, "--method", "latent_search", "--calls", "7", words="calls cannot be chosen")


def test_what_is_hidden_has_no_say() -> None:
    y = torch.tensor([[[[0.5, float("nan")]]]])
    made = sfumato.restore(lambda x, t: 0 * x.mean((1, 2, 3), keepdim=True) + x, y, mask=HOLE, calls=3)
    assert bool(made.isfinite().all()) and float(made[0, 0, 0, 0, 0]) == pytest.approx(0.5)


def test_a_run_trained_to_restore_says_so_to_a_walk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    small = ("--images", 32, "--set", "family.width=4", "--set", "budget.batch=16")
    assert call("train", "ddpm", "--data", "digits", "--task", "inpainting", *small, "--out", run) == 0
    photo, hole = picture(tmp_path / "p.png", mode="L"), mask(tmp_path / "m.png")
    asked = ("restore", photo, "--model", run, "--mask", hole)
    refused(capsys, *asked, "--method", "ddnm", "--calls", 3, words="trained to restore; train it on generation")


def test_draws_of_parts_share_no_noise() -> None:
    """Two equal holes of a picture that repeats: what one draw makes of the right is not what another makes of the left."""
    model = sfumato.train("gaussian", progress=False)  # of digits, 8 x 8
    pixels = torch.full((1, 8, 64), 120, dtype=torch.uint8)
    hole = torch.zeros(8, 64, dtype=torch.uint8)
    hole[2:6, 2:6] = hole[2:6, 58:62] = 255
    first, second = (
        restore_picture(pixels, answerer_of(model.run, "cpu", "ddnm"), mask=hole, seed=seed).pixels for seed in (0, 1)
    )
    parts = [made[0, 2:6, left : left + 4] for made in (first, second) for left in (2, 58)]
    assert all(not torch.equal(a, b) for i, a in enumerate(parts) for b in parts[:i])


def test_a_picture_is_taken_to_have_the_noise_of_the_training(tmp_path: Path) -> None:
    small: dict[str, Any] = {"family.width": 4, "budget.batch": 16}
    tasks = [{"kind": "inpainting", "noise": 0.3}, {"kind": "super_resolution", "scale": 2, "noise": 0.2}]
    run = sfumato.train("regression", task=tasks, images=32, settings=small, progress=False).run
    assert fitting.filling(run) == 0.3 and fitting.filling(None) == 0
    assert fitting.enlarging(torch.zeros(1, 4, 4, dtype=torch.uint8), 2, run)[1] == 0.2
