"""Parity: widths whose parameters are counted on the networks themselves."""

import pytest

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError
from sfumato.families.base import Family
from sfumato.kinds import build, discover, parse
from sfumato.studies.parity import STEP, deployed_parameters, fit_width

SPEC = DataSpec(channels=1, size=8, condition=2)
FAMILIES = [name for name, kind in discover(Family).items() if "width" in kind.Config.model_fields]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("target", [60_000, 110_000, 400_000])
def test_the_count_is_near_and_true(name: str, target: int) -> None:
    fitted = fit_width(parse(Family, name), SPEC, target, 0.05)
    modules = build(fitted, SPEC).deployed()
    counted = sum(p.numel() for p in {p for module in modules for p in module.parameters()})
    assert counted == deployed_parameters(fitted, SPEC)
    assert abs(counted / target - 1) <= 0.05
    assert fitted.width / STEP == round(fitted.width / STEP)


@pytest.mark.parametrize("name", FAMILIES)
def test_only_the_width_moves(name: str) -> None:
    before = parse(Family, name)
    fitted = fit_width(before, SPEC, 110_000, 0.05)
    assert fitted.model_copy(update={"width": before.width}) == before
    assert type(fitted).model_validate_json(fitted.to_json()) == fitted


@pytest.mark.parametrize("name", FAMILIES)
def test_no_neighbour_is_nearer(name: str) -> None:
    target = 110_000
    fitted = fit_width(parse(Family, name), SPEC, target, 0.05)
    off = abs(deployed_parameters(fitted, SPEC) - target)
    for step in range(-8, 9):
        width = fitted.width + step * STEP
        if width >= 1:
            near = fitted.model_copy(update={"width": width})
            assert abs(deployed_parameters(near, SPEC) - target) >= off


def test_only_what_sampling_needs_counts() -> None:
    config = parse(Family, "wgan")
    family = build(config, SPEC)
    generator = sum(p.numel() for p in family.generator.parameters())
    assert deployed_parameters(config, SPEC) == generator < sum(p.numel() for p in family.parameters())


def test_a_count_that_cannot_be_met() -> None:
    with pytest.raises(ConfigError, match=r"comes no nearer to 10 parameters .* parity\.tolerance"):
        fit_width(parse(Family, "ddpm"), SPEC, 10, 0.02)


def test_a_count_above_any_sensible_width() -> None:
    with pytest.raises(ConfigError, match="any sensible width"):
        fit_width(parse(Family, "ddpm"), SPEC, 10**13, 0.02)


def test_a_family_without_width() -> None:
    class Widthless(Strict):
        kind: str = "widthless"

    with pytest.raises(ConfigError, match="'widthless' does not have"):
        fit_width(Widthless(), SPEC, 1000, 0.02)
