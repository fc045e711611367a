"""The contract of features: vectors depend on their image alone, memory goes by content, names say what was used."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from sfumato.features import Features, extractor
from sfumato.features.lite0 import Lite0
from sfumato.features.memory import BATCHES as MEMORY
from sfumato.kinds import build


class Sums(Features, abstract=True):  # abstract: so that it registers nowhere
    """Channel sums, and a note of every batch that came in."""

    dim, tag, resize, digest, at_once = 3, "sums", "not at all", "0" * 64, 4

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def extract(self, pixels: Tensor) -> Tensor:
        self.seen.append(pixels.clone())
        return pixels.float().sum((2, 3))


class Official(Sums, abstract=True):
    graph_2015, tag = True, ""


def pixels(n: int, seed: int = 0, size: int = 24) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=rng)


@pytest.mark.parametrize("layer", ["b4", "head"])
def test_batch_size_and_order_change_no_bit(layer: str) -> None:
    def fresh() -> Lite0:  # without memory
        features = Lite0(Lite0.Config(layer=layer, size=32))
        features.at_once = 8
        return features

    x, order = pixels(21), torch.randperm(21, generator=torch.Generator().manual_seed(1))
    whole = fresh()(x)
    for batch in (1, 3, 8, 20):
        assert torch.equal(fresh()(x, batch), whole), batch
    assert torch.equal(fresh()(x[order]), whole[order])
    assert (whole[0] - whole[1]).abs().max() > 1e-3  # the images do differ


def test_every_pass_has_one_size_and_the_filling_is_cut_off() -> None:
    features, x = Sums(), pixels(10)
    assert torch.equal(features(x), x.float().sum((2, 3)))
    assert [len(batch) for batch in features.seen] == [4, 4, 4]
    assert torch.equal(features.seen[2], x[[8, 9, 9, 9]])


def test_the_same_images_are_looked_at_once() -> None:
    features, x = Sums(), pixels(4)
    first = features(x)
    assert torch.equal(features(x.clone()), first) and len(features.seen) == 1
    with torch.inference_mode():
        first.zero_()  # the memory is not the caller's to write in
    assert torch.equal(features(x), x.float().sum((2, 3))) and len(features.seen) == 1


def test_no_two_contents_are_confused() -> None:
    features, x = Sums(), pixels(4)
    others = [x, x.flip(0), x.transpose(2, 3).contiguous(), x[:3], x.reshape(4, 3, 12, 48), x.reshape(2, 3, 24, 48)]
    changed = x.clone()
    changed[3, 2, 23, 23] ^= 1
    for other in (*others, changed):
        assert torch.equal(features(other), other.float().sum((2, 3)))
    x.zero_()  # the same tensor, another content
    assert torch.equal(features(x), torch.zeros(4, 3))


def test_memory_is_bounded_and_forgets_the_oldest() -> None:
    features = Sums()
    features(pixels(1, seed=0))
    for seed in range(1, MEMORY):
        features(pixels(1, seed))
    features(pixels(1, seed=0))  # asked for again, so not the oldest any more
    assert len(features.seen) == MEMORY
    features(pixels(1, seed=MEMORY))
    assert len(features._memory) == MEMORY  # type: ignore[attr-defined]
    features(pixels(1, seed=0))
    assert len(features.seen) == MEMORY + 1
    features(pixels(1, seed=1))
    assert len(features.seen) == MEMORY + 2


def test_passes_remember_nothing() -> None:
    features, x = Sums(), pixels(4)
    assert torch.equal(features.passes(x), features.passes(x)) and len(features.seen) == 2
    assert not features.__dict__.get("_memory")


def test_memories_are_apart() -> None:
    one, other = Sums(), Sums()
    one(pixels(2)), other(pixels(2))
    assert len(one.seen) == len(other.seen) == 1


def test_no_images_give_no_vectors() -> None:
    none = pixels(0)
    for features in (Sums(), Lite0(Lite0.Config(layer="b4", size=16))):
        assert features(none).shape == features(none, batch=5).shape == (0, features.dim)


def test_vectors_carry_no_gradients_and_autocast_does_not_matter() -> None:
    x = pixels(3)
    plain = Lite0(Lite0.Config())(x)
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
        inside = Lite0(Lite0.Config())(x)
    assert inside.dtype == torch.float32 and not inside.requires_grad and torch.equal(plain, inside)


def test_names() -> None:
    assert (Sums().label, Sums().called("KID", "KD"), Sums().called("IS", "IS")) == ("FD-sums", "KD-sums", "IS-sums")
    assert (Official().label, Official().called("KID", "KD"), Official().called("IS", "IS")) == ("FID", "KID", "IS")


def test_about_says_what_two_figures_must_share() -> None:
    about = Sums().about()
    assert about == {"name": "FD-sums", "dimensions": 3, "sha256": "0" * 64, "resize": "not at all"}
    assert json.loads(json.dumps(about)) == about


def test_an_extractor_is_built_once_for_its_settings() -> None:
    small = Lite0.Config(layer="b4", size=16)
    assert extractor(small) is extractor(Lite0.Config(layer="b4", size=16), torch.device("cpu"))
    assert extractor(small) is not extractor(Lite0.Config(layer="b4", size=32))
    assert type(extractor(small)) is type(build(small))
