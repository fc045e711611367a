"""`sfumato.restore` with somebody's own network, and several draws from the command line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import sfumato
from sfumato.errors import CapabilityError, ConfigError, ShapeError
from sfumato.kinds import build, parse
from sfumato.maths.mixture import Mixture
from sfumato.restorers.exact import posterior
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
        ({"mask": HOLE.float()}, ShapeError, "a bool mask of 1 x 2"),
        ({"mask": torch.ones(3, 3, dtype=torch.bool)}, ShapeError, "a bool mask of 1 x 2"),
        ({"mask": HOLE, "method": "telea"}, ConfigError, "'telea' does not restore with a denoiser"),
        ({"scale": 2, "method": "repaint", "calls": 5}, CapabilityError, "cannot undo BlockMean"),
        ({"mask": HOLE, "schedule": "edm"}, ConfigError, "has not; use 'time' or 'sigma'"),
    ],
)
def test_wishes_that_make_no_sense(wish: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        sfumato.restore(lambda x, t: x, torch.zeros(1, 1, 1, 2), **wish)


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
