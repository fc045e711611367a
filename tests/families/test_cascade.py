"""Cascades: noise in what is observed is put in, told, and drawn by; two parts draw large images; a chain enlarges pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import sfumato
from sfumato.data.base import Dataset, DataSpec, Split
from sfumato.errors import CapabilityError, ConfigError
from sfumato.families.ddpm import DDPM
from sfumato.families.diffusion import noised
from sfumato.images import to_float, to_uint8
from sfumato.maths.mixture import Mixture
from sfumato.networks.condition import Condition
from sfumato.restorers.chain import Chain
from sfumato.streams import stream
from sfumato.tasks.base import Observation
from sfumato.tasks.down_sampling import BlockMean
from sfumato.tasks.operators import Masking
from sfumato.training.run import make_family


def images(side: int, n: int = 5000) -> torch.Tensor:
    """Draws of a smooth normal law on 8 x 8, seen at a smaller side."""
    places = torch.stack([torch.arange(64) // 8, torch.arange(64) % 8], 1).double()
    law = Mixture.of(torch.ones(1), torch.zeros(1, 64), 0.09 * (-torch.cdist(places, places) / 4).exp()[None])
    x = law.draw(n, stream(0, "x")).float().view(-1, 1, 8, 8)
    return to_uint8(torch.nn.functional.avg_pool2d(x, 8 // side).clamp(-1, 1))


def data(side: int) -> Dataset:
    part = Split(images(side))
    return Dataset(f"normal-{side}", part, part.first(8), part.first(8))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base at 4 x 4 and its enlarger to 8 x 8."""
    root = tmp_path_factory.mktemp("cascade")
    common: dict[str, Any] = {"family.width": 16, "budget.batch": 64, "family.network.multipliers": [1, 2]}
    sfumato.train("ddpm", data(4), images=16_000, settings=common, out=root / "base", progress=False)
    more = {**common, "family.conditioning_noise": 0.4}
    task = {"kind": "super_resolution", "scale": 2}
    sfumato.train("ddpm", data(8), task=task, images=20_000, settings=more, out=root / "upper", progress=False)
    return {"base": root / "base", "upper": root / "upper"}


def cascade(parts: dict[str, Path], out: Path, **others: Path) -> Any:
    settings = {f"parts.{name}": str(path) for name, path in {**parts, **others}.items()}
    return sfumato.train("cascade", data(8), settings=settings, out=out, progress=False)


def test_noise_is_put_in_and_told() -> None:
    told = Condition(torch.cat([torch.full((2000, 1, 4, 4), 0.5), torch.ones(2000, 1, 4, 4)], 1))
    share = torch.full((2000,), 0.6)
    made = noised(told, share, torch.randn(2000, 1, 4, 4, generator=stream(0, "n"))).image
    assert made is not None
    assert float(made[:, 0].mean()) == pytest.approx(0.8 * 0.5, abs=0.02)
    assert float(made[:, 0].std()) == pytest.approx(0.6, rel=0.02)
    assert torch.equal(made[:, 1], torch.full_like(made[:, 1], -0.6)), "nothing is known, and how noisy it is is said"


def test_a_network_is_shown_the_level_it_draws_by() -> None:
    seen: list[torch.Tensor] = []

    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor, time: torch.Tensor, condition: Condition) -> torch.Tensor:
            assert condition.image is not None
            seen.append(condition.image)
            return torch.zeros_like(x)

    spec = DataSpec(channels=1, size=4, condition=2)
    for level in (0.0, 0.3):
        config = DDPM.Config(width=4, conditioning_noise=0.5, conditioning_level=level)
        family: Any = make_family(config, spec, 0)
        family.network = Net()
        known = torch.ones(2, 1, 4, 4)
        family.sample(2, observation=Observation(0.2 * known, Masking(known), known), rng=stream(0, "s"))
        assert torch.equal(seen[-1], seen[-2]), "one noise for a whole walk"
        assert torch.allclose(seen[-1][:, 1:], torch.full((2, 1, 4, 4), -level))
    assert torch.equal(seen[0][:, :1], torch.full((2, 1, 4, 4), 0.2)), "at level 0 it sees what was measured"


def test_a_cascade_draws_the_law_of_large_images(parts: dict[str, Path], tmp_path: Path) -> None:
    run = cascade(parts, tmp_path / "c")
    assert run.ledger.images == 0 and run.family.calls() == 50
    made, true = (x.float().flatten(1) / 127.5 - 1 for x in (run.sample(800), images(8)))
    assert made.shape == (800, 64)
    a, b = made.T.cov(), true.T.cov()
    assert float((a - b).norm() / b.norm()) < 0.6
    assert float(a.trace() / b.trace()) == pytest.approx(1, abs=0.35)
    again = sfumato.load_run(tmp_path / "c")
    assert torch.equal(again.sample(3), run.sample(5)[:3]), "image i depends on the seed and i alone"
    assert not torch.equal(again.sample(3, seed=1), run.sample(3))


def test_a_base_that_hears_classes_draws_with_one_and_without(parts: dict[str, Path], tmp_path: Path) -> None:
    small = Split(images(4), torch.arange(5000) % 3)
    told = Dataset("classes", small, small.first(8), small.first(8), classes=3)
    settings: dict[str, Any] = {"family.width": 4, "family.labels": True}
    sfumato.train("ddpm", told, images=64, settings=settings, out=tmp_path / "base", progress=False)
    large = Split(images(8), torch.arange(5000) % 3)
    whole = Dataset("classes", large, large.first(8), large.first(8), classes=3)
    both = {"parts.base": str(tmp_path / "base"), "parts.upper": str(parts["upper"])}
    run = sfumato.train("cascade", whole, settings=both, progress=False)
    assert run.sample(2).shape == run.sample(2, label=1).shape == (2, 1, 8, 8)


def test_a_chain_enlarges_what_was_measured(parts: dict[str, Path], tmp_path: Path) -> None:
    family = cascade(parts, tmp_path / "c").family
    x = to_float(images(8)[:64])
    operator = BlockMean(64, (8, 8), 2)
    seen = Observation(operator.forward(x), operator, torch.ones_like(operator.known))
    made = Chain(Chain.Config(), family).restore(seen, rng=stream(0, "s"))
    torch.testing.assert_close(operator.forward(made), seen.y, atol=2e-3, rtol=0)
    flat = operator.pinv(seen.y)
    apart, plain = ((one - x).square().mean() for one in (made, flat))
    assert float(apart) < 1.6 * float(plain), "a draw, not nonsense"
    assert float((made - flat).std()) > 0.3 * float((x - flat).std()), "what blocks do not show is drawn"
    hidden = Observation(x, Masking(torch.ones(64, 1, 8, 8)), torch.ones(64, 1, 8, 8))
    with pytest.raises(CapabilityError, match="cannot undo Masking"):
        Chain(Chain.Config(), family).restore(hidden, rng=stream(0, "s"))


def test_parts_that_do_not_fit(parts: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trained on generation and an upper on super_resolution"):
        cascade({"base": parts["upper"], "upper": parts["base"]}, tmp_path / "a")
    with pytest.raises(ConfigError, match="no whole times smaller"):
        cascade({"base": cascade(parts, tmp_path / "c").folder, "upper": parts["upper"]}, tmp_path / "b")
    with pytest.raises(ConfigError, match="needs a trained Family as its part 'upper'"):
        cascade({"base": parts["base"]}, tmp_path / "d")


def test_the_level_can_be_chosen_when_it_draws(parts: dict[str, Path], tmp_path: Path) -> None:
    both = {f"parts.{name}": str(path) for name, path in parts.items()}
    told, spread = dict[Any, torch.Tensor](), []
    for level in (None, 0.0, 0.4):
        chosen = {} if level is None else {"family.conditioning_level": level}
        run = sfumato.train("cascade", data(8), settings=both | chosen, progress=False)
        y = to_float(images(4)[:64])
        told[level] = run.family.enlarge(y, stream(0, "s"))
        spread.append(float((BlockMean(64, (8, 8), 2).forward(told[level]) - y).std()))
    assert torch.equal(told[None], told[0.0]), "as the upper part was set"
    assert spread[2] > 2 * spread[1], "with noise in what it sees it follows it less"
    settings: dict[str, Any] = {"family.width": 4}
    plain = tmp_path / "plain"
    task = {"kind": "super_resolution", "scale": 2}
    sfumato.train("ddpm", data(8), task=task, images=64, settings=settings, out=plain, progress=False)
    with pytest.raises(ConfigError, match="an upper part that learnt with noise"):
        sfumato.train("cascade", data(8), settings=both | {"parts.upper": str(plain), "family.conditioning_level": 0.1})


def test_an_upper_part_that_enlarges_otherwise(parts: dict[str, Path], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"family.width": 4}
    for place, task in enumerate(
        (
            {"kind": "inpainting"},
            {"kind": "super_resolution", "scale": 4},
            {"kind": "super_resolution", "scale": 2, "preview": "pinv"},
        )
    ):
        out = tmp_path / f"u{place}"
        sfumato.train("ddpm", data(8), task=task, images=64, settings=settings, out=out, progress=False)
        with pytest.raises(ConfigError, match="has to be trained on super_resolution with scale = 2"):
            cascade(parts, tmp_path / f"c{place}", upper=out)
    with pytest.raises(ConfigError, match=r"learnt with up to 0\.4"):
        sfumato.train(
            "cascade",
            data(8),
            settings={**{f"parts.{k}": str(v) for k, v in parts.items()}, "family.conditioning_level": 0.9},
        )
    with pytest.raises(ConfigError, match="a cascade draws"):
        sfumato.train("cascade", data(8), task="inpainting", settings={f"parts.{k}": str(v) for k, v in parts.items()})
    with pytest.raises(ConfigError, match="it would hide the mask"):
        sfumato.train("ddpm", data(8), task="inpainting", settings={**settings, "family.conditioning_noise": 0.3})


def test_classes_reach_both_parts(tmp_path: Path) -> None:
    paths, settings = dict[str, str](), {"family.width": 4, "family.labels": True}
    for side, name, task in ((4, "base", "generation"), (8, "upper", {"kind": "super_resolution", "scale": 2})):
        part = Split(images(side), torch.arange(5000) % 3)
        told = Dataset("classes", part, part.first(8), part.first(8), classes=3)
        sfumato.train("ddpm", told, task=task, images=64, settings=settings, out=tmp_path / name, progress=False)
        paths[f"parts.{name}"] = str(tmp_path / name)
    family: Any = sfumato.train("cascade", told, settings=paths, progress=False).family
    heard: list[torch.Tensor] = []
    inner = family.upper.guided
    family.upper.guided = lambda condition, rng: (heard.append(condition.label), inner(condition, rng))[1]
    family.sample(2, label=1, rng=stream(0, "s"))
    family.sample(2, rng=stream(0, "s"))
    assert [one.tolist() for one in heard] == [[1, 1], [3, 3]]
    with pytest.raises(ConfigError, match="hears 3 classes, this data has none"):
        sfumato.train("cascade", data(8), settings=paths, progress=False)
