"""Parity: widths and embeddings whose parameters are counted on the networks themselves."""

import pytest
from torch import nn

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError
from sfumato.families.base import Family
from sfumato.kinds import build, discover, parse
from sfumato.networks.layers import Attention
from sfumato.studies.parity import FINE, STEP, deployed_parameters, fit_parameters

SPEC = DataSpec(channels=1, size=8, condition=2)
FAMILIES = [name for name, kind in discover(Family).items() if "embedding" in kind.Config.model_fields]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("target", [60_000, 110_000, 400_000])
def test_the_count_is_near_and_true(name: str, target: int) -> None:
    fitted = fit_parameters(parse(Family, name), SPEC, target, 0.02)
    modules = build(fitted, SPEC).deployed()
    counted = sum(p.numel() for p in {p for module in modules for p in module.parameters()})
    assert counted == deployed_parameters(fitted, SPEC)
    assert abs(counted / target - 1) <= 0.02
    assert fitted.width / STEP == round(fitted.width / STEP)


@pytest.mark.parametrize("name", FAMILIES)
def test_only_width_and_embedding_move(name: str) -> None:
    before = parse(Family, name)
    fitted = fit_parameters(before, SPEC, 110_000, 0.05)
    assert fitted.model_copy(update={"width": before.width, "embedding": before.embedding}) == before
    assert type(fitted).model_validate_json(fitted.to_json()) == fitted


@pytest.mark.parametrize("name", FAMILIES)
def test_no_embedding_is_nearer(name: str) -> None:
    target = 110_000
    fitted = fit_parameters(parse(Family, name), SPEC, target, 0.05)
    off = abs(deployed_parameters(fitted, SPEC) - target)
    for embedding in range(FINE, 2 * fitted.embedding, FINE):
        near = fitted.model_copy(update={"embedding": embedding})
        assert abs(deployed_parameters(near, SPEC) - target) >= off


def layers(config: Strict, spec: DataSpec) -> list[tuple[str, int, int]]:
    """Groups and heads of a family's deployed networks, in the order of its modules, with their channels."""
    found = []
    for module in build(config, spec).deployed():
        for layer in module.modules():
            if isinstance(layer, nn.GroupNorm):
                found.append(("norm", layer.num_channels, layer.num_groups))
            if isinstance(layer, Attention):
                found.append(("attention", layer.qkv.in_channels, layer.heads))
    return found


@pytest.mark.parametrize("target", [110_000, 500_000, 1_000_000, 2_600_000])
@pytest.mark.parametrize("size", [8, 32])
def test_families_on_one_network_have_the_same_channels_groups_and_heads(size: int, target: int) -> None:
    spec = DataSpec(channels=3, size=size, condition=4)
    fitted = [fit_parameters(parse(Family, name), spec, target, 0.02) for name in ("ddpm", "wgan", "regression")]
    first, *others = (layers(config, spec) for config in fitted)
    assert all(other == first for other in others)
    for _, channels, parts in first:
        assert channels % (16 if channels >= 32 else 8) == 0 and channels % parts == 0
    assert all(channels == 8 * groups for kind, channels, groups in first if kind == "norm")


@pytest.mark.parametrize("name", ["ddpm", "wgan"])
def test_published_networks_turn_their_width_alone(name: str) -> None:
    before = parse(Family, {"kind": name, "network": "published"})
    fitted = fit_parameters(before, DataSpec(channels=3, size=32, condition=4), 500_000, 0.02)
    assert fitted.embedding is None and fitted.width / STEP == round(fitted.width / STEP)


def test_only_what_sampling_needs_counts() -> None:
    config = parse(Family, "wgan")
    family = build(config, SPEC)
    generator = sum(p.numel() for p in family.generator.parameters())
    assert deployed_parameters(config, SPEC) == generator < sum(p.numel() for p in family.parameters())


def test_a_count_that_cannot_be_met() -> None:
    with pytest.raises(ConfigError, match=r"comes no nearer to 10 parameters .* parity\.tolerance"):
        fit_parameters(parse(Family, "ddpm"), SPEC, 10, 0.02)


def test_a_count_above_any_sensible_width() -> None:
    with pytest.raises(ConfigError, match="any sensible width"):
        fit_parameters(parse(Family, "ddpm"), SPEC, 10**13, 0.02)


def test_a_family_without_width() -> None:
    class Widthless(Strict):
        kind: str = "widthless"

    with pytest.raises(ConfigError, match="'widthless' does not have"):
        fit_parameters(Widthless(), SPEC, 1000, 0.02)
