"""Streams: numbers that depend on their names alone."""

import hashlib

import pytest
import torch

from sfumato.streams import normals, stream, uniforms


def first(*names: str | int) -> float:
    return float(torch.rand(1, dtype=torch.float64, generator=stream(*names)))


def test_the_seed_is_sha_256_of_the_names() -> None:
    # A frozen law: other numbers would silently change every mask and every published figure.
    digest = hashlib.sha256(b"(3, 'mask', 17)").digest()
    assert stream(3, "mask", 17).initial_seed() == int.from_bytes(digest[:8], "little") // 2


def test_equal_names_give_equal_numbers_whatever_ran_before() -> None:
    before = first(0, "mask", 1)
    torch.rand(7)
    first(0, "loss")
    assert first(0, "mask", 1) == before


def test_other_names_give_other_numbers() -> None:
    keys = [(seed, name, i) for seed in range(4) for name in ("mask", "loss", "sample") for i in range(50)]
    keys += [(0,), (0, "mask"), (0, "mask", "1"), (0, "mas", "k1"), (0, "mask", 1, 0)]
    assert len({first(*key) for key in keys}) == len(keys)


def test_neighbours_are_not_correlated() -> None:
    draws = torch.stack([torch.randn(200, generator=stream(0, "mask", i)) for i in range(40)])
    off = torch.corrcoef(draws) - torch.eye(40)
    assert float(off.abs().max()) < 0.35


def test_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    uniforms(stream(0, "mask"), 3, 4)
    normals([stream(0, "mask", i) for i in range(3)], 3, 4)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("draw", [uniforms, normals])
def test_one_generator_an_image(draw: object) -> None:
    together = draw([stream(0, "x", i) for i in range(5)], 5, 2, 3)
    apart = torch.cat([draw([stream(0, "x", i)], 1, 2, 3) for i in range(5)])
    assert together.shape == (5, 2, 3) and together.dtype == torch.float32 and torch.equal(together, apart)
    batch = draw(stream(0, "x"), 5, 2, 3)
    assert batch.shape == (5, 2, 3) and not torch.equal(batch, together)


def test_laws() -> None:
    u, z = uniforms(stream(0, "u"), 1000, 20), normals(stream(0, "z"), 1000, 20)
    assert 0 <= float(u.min()) and float(u.max()) < 1
    assert float(u.mean()) == pytest.approx(0.5, abs=0.01) and float(u.var()) == pytest.approx(1 / 12, abs=0.003)
    assert float(z.mean()) == pytest.approx(0, abs=0.03) and float(z.var()) == pytest.approx(1, abs=0.04)
