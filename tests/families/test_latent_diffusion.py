"""Latent diffusion and DiffuseVAE: what they learn of a law that is known, over a small autoencoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import sfumato
from sfumato.data.base import Dataset, DataSpec, Split
from sfumato.errors import ConfigError
from sfumato.families.base import Family
from sfumato.kinds import build, parse
from sfumato.networks.condition import Condition
from sfumato.streams import stream
from sfumato.training.parts import WEIGHTS

from .test_cascade import data, images

SMALL: dict[str, Any] = {"family.width": 16, "budget.batch": 64}


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE of 8 x 8."""
    out = tmp_path_factory.mktemp("codes") / "vae"
    sfumato.train("vae", data(8), images=20_000, settings={**SMALL, "family.latent": 8}, out=out, progress=False)
    return out


def train(family: str, codes: Path, n: int, out: Path | None = None, **more: Any) -> Any:
    settings = {**SMALL, "parts.codes": str(codes), **more}
    return sfumato.train(family, data(8), images=n, settings=settings, out=out, progress=False)


def covariance_error(made: torch.Tensor) -> float:
    a, b = ((x.float().flatten(1) / 127.5 - 1).T.cov() for x in (made, images(8)))
    return float((a - b).norm() / b.norm())


def test_a_diffusion_of_codes_draws_the_law(codes: Path, tmp_path: Path) -> None:
    run = train("latent_diffusion", codes, 40_000, tmp_path / "run")
    family: Any = run.family
    vae = sfumato.load_run(codes).family
    assert family.inner.spec.size == (1, 1) and family.inner.spec.channels == 8
    x = images(8).float()[:2000] / 127.5 - 1
    z = (family.maps(x) - family.scale.mean) / family.scale.sd
    assert float(z.mean()) == pytest.approx(0, abs=0.05) and float(z.std()) == pytest.approx(1, abs=0.05)
    assert all(torch.equal(a, b) for a, b in zip(vae.parameters(), family.codes.parameters(), strict=True)), (
        "not trained on"
    )
    assert covariance_error(run.sample(1500)) < 0.35
    again = sfumato.load_run(tmp_path / "run")
    assert torch.equal(again.sample(3), run.sample(5)[:3]), "image i depends on the seed and i alone"
    assert not list((tmp_path / "run" / "parts").rglob(WEIGHTS)), "its weights hold those of its part"


def test_codes_that_are_vectors_are_drawn_as_long_as_they_are(codes: Path) -> None:
    """A network that normalises what it sees cannot say how far a vector has to go: straight paths then stop half way."""
    family: Any = train("latent_diffusion", codes, 40_000, **{"family.inner": "flow_matching"}).family
    x = images(8).float()[:1500] / 127.5 - 1
    z = (family.maps(x) - family.scale.mean) / family.scale.sd
    with torch.no_grad():
        drawn = family.inner.draw(1500, Condition(), (1, 1), stream(0, "z")) / 0.5
    torch.testing.assert_close(drawn.std(0).mean(), z.std(0).mean(), atol=0.2, rtol=0)


def test_the_fine_structure_that_an_autoencoder_loses_is_drawn(codes: Path) -> None:
    run, vae = train("diffuse_vae", codes, 12_000), sfumato.load_run(codes)
    assert covariance_error(run.sample(1000)) < 0.7
    lost, kept = (roughness(model.sample(500)) / roughness(images(8)[:500]) for model in (vae, run))
    assert lost < 0.8 and kept > 1.3 * lost, (lost, kept)


def roughness(pixels: torch.Tensor) -> float:
    """Deviation from the mean of 3 x 3."""
    x = pixels.float()
    return float((x - torch.nn.functional.avg_pool2d(x, 3, 1, 1))[:, :, 1:-1, 1:-1].std())


def test_parts_that_do_not_do(codes: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a vae is no diffusion"):
        train("latent_diffusion", codes, 64, **{"family.inner": "vae"})
    gan = tmp_path / "gan"
    sfumato.train("gan", data(8), images=64, settings=SMALL, out=gan, progress=False)
    with pytest.raises(ConfigError, match="trained on generation and encodes"):
        train("latent_diffusion", gan, 64)
    with pytest.raises(ConfigError, match="needs a trained Decodes as its part 'codes'"):
        sfumato.train("diffuse_vae", data(8), images=64, progress=False)


@pytest.mark.parametrize("family", ["latent_diffusion", "diffuse_vae"])
def test_what_is_given_would_not_be_seen(codes: Path, family: str) -> None:
    settings = {**SMALL, "parts.codes": str(codes)}
    with pytest.raises(ConfigError, match="only draws and would not see what is given"):
        sfumato.train(family, data(8), task="inpainting", images=64, settings=settings, progress=False)


def test_classes_reach_the_diffusion_and_not_the_codes(codes: Path, tmp_path: Path) -> None:
    part = Split(images(8), torch.arange(5000) % 3)
    told = Dataset("classes", part, part.first(8), part.first(8), classes=3)
    settings = {**SMALL, "parts.codes": str(codes), "family.inner.labels": True, "family.inner.width": 4}
    for family in ("diffuse_vae", "latent_diffusion"):
        run = sfumato.train(family, told, images=128, settings=settings, progress=False)
        assert run.sample(2).shape == run.sample(2, label=1).shape == (2, 1, 8, 8)
    labelled: dict[str, Any] = {**SMALL, "family.latent": 8, "family.labels": True}
    sfumato.train("vae", told, images=64, settings=labelled, out=tmp_path / "vae", progress=False)
    with pytest.raises(ConfigError, match="train one without labels"):
        sfumato.train("diffuse_vae", told, images=64, settings={**SMALL, "parts.codes": str(tmp_path / "vae")})
    with pytest.raises(ConfigError, match="sees known pixels alone"):
        train("diffuse_vae", codes, 64, **{"family.inner": "td_paint"})


@pytest.mark.parametrize(("kind", "levels"), [("glow", 2), ("glow", 3), ("nice", 0)])
def test_codes_of_flows_are_laid_out_as_maps_and_back(kind: str, levels: int) -> None:
    spec = DataSpec(channels=3, size=(16, 24))
    settings = {"kind": kind, "width": 8} | ({"levels": levels} if levels else {})
    flow: Any = build(parse(Family, settings), spec)
    z = flow.latent(5, stream(0, "z"))
    maps = flow.mapped(z)
    assert maps.ndim == 4 and maps[0].numel() == 16 * 24 * 3
    assert torch.equal(flow.unmapped(maps, z), z)
    if kind == "glow":  # what left first is of half the size, and its places stay places
        part = z[:, : 6 * 8 * 12].view(5, 6, 8, 12)
        assert maps.shape[2:] == (8, 12) and torch.equal(maps[:, :6], part)


@pytest.mark.slow
def test_a_diffusion_of_a_flows_codes_draws_the_law(tmp_path: Path) -> None:
    out = tmp_path / "glow"
    sfumato.train("glow", data(8), images=5_000, settings=SMALL, out=out, progress=False)
    run = train("latent_diffusion", out, 20_000)
    family: Any = run.family
    assert family.inner.spec.size == (4, 4) and family.inner.spec.channels == 4
    assert covariance_error(run.sample(1000)) < 0.35, covariance_error(run.sample(1000))
