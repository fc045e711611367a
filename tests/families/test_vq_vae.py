"""Codes: the book against vector-quantize-pytorch, and what sums, revival and priors promise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.data.base import DataSpec, Split
from sfumato.families.code_priors import Absorbing, Autoregressive, chosen
from sfumato.families.vq_vae import VQVAE
from sfumato.networks.condition import Condition
from sfumato.networks.quantizer import Quantizer, perplexity
from sfumato.streams import lent, stream
from sfumato.tasks.generation import Generation
from sfumato.training.budget import Budget
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer

SPEC = DataSpec(channels=1, size=(8, 8), classes=3)


def maps(seed: int, n: int = 8, channels: int = 4, side: int = 4) -> Tensor:
    return torch.randn(n, channels, side, side, generator=stream(seed, "maps"))


def book(codes: int = 16, channels: int = 4, decay: float = 0.8) -> Quantizer:
    made = Quantizer(codes, channels, decay=decay, revive=0.0)
    made.start(torch.randn(codes, channels, generator=stream(0, "book")))
    return made


def test_codes_gradient_and_running_means_are_those_of_vector_quantize_pytorch() -> None:
    """Their EMA is of unnormalised counts with Laplace smoothing; ours too but for the smoothing, which directions lose."""
    VectorQuantize = pytest.importorskip("vector_quantize_pytorch").VectorQuantize
    ours = book()
    theirs = VectorQuantize(
        dim=4, codebook_size=16, decay=0.8, use_cosine_sim=True, accept_image_fmap=True, threshold_ema_dead_code=0
    )
    inner: Any = theirs._codebook
    inner.embed.data.copy_(ours.book[None])
    inner.cluster_size.data.fill_(1.0)
    inner.embed_avg.data.copy_(ours.book[None])
    x = maps(1).requires_grad_(True)
    found = ours.train()(x)
    codes = found.codes
    _, indices, _ = theirs.train()(x.detach())
    assert torch.equal(codes, indices)
    theirs.eval()
    torch.testing.assert_close(ours.look_up(codes), ours.book[indices].permute(0, 3, 1, 2))
    found.maps.sum().backward()
    unit = maps(1).requires_grad_(True)
    F.normalize(unit, dim=1).sum().backward()
    torch.testing.assert_close(x.grad, unit.grad)  # as if the codes were the unit vectors themselves
    ours.settle()
    used = torch.bincount(codes.flatten(), minlength=16) > 0
    cosine = (ours.book * F.normalize(inner.embed[0], dim=1)).sum(1)
    assert float(cosine[used].min()) > 0.999, cosine


def test_micro_batches_sum_to_the_whole() -> None:
    whole, parts, x = book().train(), book().train(), maps(2)
    whole(x)
    for part in x.split(2):
        parts(part)
    whole.settle()
    parts.settle()
    torch.testing.assert_close(whole.book, parts.book)
    torch.testing.assert_close(whole.counts, parts.counts)


def test_a_dead_code_gets_a_vector_of_the_batch() -> None:
    made = Quantizer(64, 4, decay=0.5, revive=0.2).train()
    made.start(F.normalize(torch.ones(64, 4) + 0.01 * torch.randn(64, 4, generator=stream(0, "b")), dim=1))
    before = perplexity(torch.bincount(made(maps(3)).codes.flatten(), minlength=64).float())
    for seed in range(12):
        made(maps(seed))
        made.settle()
    after = perplexity(torch.bincount(made(maps(3)).codes.flatten(), minlength=64).float())
    assert after > 2 * before and after > 24
    assert torch.allclose(made.book.norm(dim=1), torch.ones(64))


def test_nothing_moves_outside_of_training() -> None:
    made = book().eval()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made(maps(1))
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def prior(kind: Any, length: int = 4, codes: int = 3, **settings: Any) -> Any:

    with lent(stream(0, "prior")):
        made = kind(kind.Config(width=32, depth=1, **settings), codes, length, 2, 3, 2)
        for weight in made.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, 0.0, 0.2)
    return made.eval()


def sequences(codes: int, length: int) -> Tensor:
    return torch.cartesian_prod(*[torch.arange(codes)] * length)


def test_the_odds_of_all_sequences_sum_to_one() -> None:
    made, every = prior(Autoregressive), sequences(3, 4)
    with torch.no_grad():
        nats = made.nats(every, None, None, stream(0, "n"))
    assert float((-nats.double()).exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_a_prior_sees_no_code_before_it_is_drawn() -> None:
    made = prior(Autoregressive)
    one, two = torch.tensor([[0, 1, 2, 0]]), torch.tensor([[0, 1, 2, 2]])
    with torch.no_grad():
        a, b = (made.logits(made._before(codes), None, None) for codes in (one, two))
    torch.testing.assert_close(a, b)


def test_draws_have_the_odds_that_the_prior_says() -> None:
    made, every = prior(Autoregressive, length=2), sequences(3, 2)
    with torch.no_grad():
        odds = (-made.nats(every, None, None, stream(0, "n"))).exp()
        drawn = made.draw(6000, None, None, stream(1, "d"))
    found = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9) / 6000
    np.testing.assert_allclose(found.numpy(), odds.numpy(), atol=0.03)


def test_the_absorbing_bound_is_the_entropy_of_a_law_it_knows() -> None:
    """Independent codes with known odds: -log p of a lost one does not depend on the others."""
    made = prior(Absorbing)
    odds = torch.tensor([0.5, 0.3, 0.2])
    made.logits = lambda tokens, label, seen: odds.log().expand(*tokens.shape, 3)  # type: ignore[method-assign]
    codes = torch.tensor([[0, 1, 2, 0]]).expand(20000, -1)
    expected = -(2 * math.log(0.5) + math.log(0.3) + math.log(0.2))
    assert float(made.nats(codes, None, None, stream(0, "n")).mean()) == pytest.approx(expected, rel=0.02)
    drawn = made.draw(4000, None, None, stream(1, "d"))
    found = torch.bincount(drawn.flatten(), minlength=3) / drawn.numel()
    np.testing.assert_allclose(found.numpy(), odds.numpy(), atol=0.02)


@pytest.mark.parametrize("kind", [Autoregressive, Absorbing])
def test_a_prior_hears_the_label_and_what_was_observed(kind: Any) -> None:
    made, tokens = prior(kind), torch.tensor([[0, 1, 2, 0]])
    seen = torch.randn(1, 3, 2, generator=stream(0, "s"))
    with torch.no_grad():
        base = made.logits(tokens, torch.tensor([0]), seen)
        assert not torch.allclose(base, made.logits(tokens, torch.tensor([1]), seen), atol=1e-4)
        other = seen.clone()
        other[:, -1] += 3
        assert not torch.allclose(base[:, 0], made.logits(tokens, torch.tensor([0]), other)[:, 0], atol=1e-4)


def test_uniform_numbers_choose_by_their_odds() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0]]).expand(9000, -1)
    u = (torch.arange(9000) + 0.5) / 9000
    found = torch.bincount(chosen(logits, u), minlength=3) / 9000
    np.testing.assert_allclose(found.numpy(), logits[0].softmax(0).numpy(), atol=1e-3)


def test_codes_go_flat_and_back() -> None:
    family = make_family(VQVAE.Config(width=8, codes=8, shrink=2), SPEC, 0).eval()
    assert isinstance(family, VQVAE)
    x = torch.randn(3, 1, 8, 8, generator=stream(0, "x"))
    codes = family.codes_of(x)
    assert [tuple(part.shape) for part in codes] == [(3, 4, 4), (3, 2, 2)]
    back = family.unflat(family.flat(codes))
    assert all(torch.equal(a, b) for a, b in zip(codes, back, strict=True))
    torch.testing.assert_close(
        family.decode(family.encode(x), Condition()),
        family.coder.decode([part.maps for part in family.coder.encode(x)]),
        atol=1e-5,
        rtol=1e-4,
    )


def test_the_card_says_what_is_used_and_what_the_prior_needs() -> None:
    """Two pictures in equal shares: one bit an image is all that a prior needs, spread over its codes."""
    dark, bright = torch.zeros(32, 1, 8, 8, dtype=torch.uint8), torch.full((32, 1, 8, 8), 255, dtype=torch.uint8)
    spec = DataSpec(channels=1, size=(8, 8))
    family = make_family(VQVAE.Config(width=8, codes=8, levels=1, share=0.5), spec, 0)
    assert not family.notes()
    budget = Budget(images=6400, batch=32)
    Trainer(family, Generation(Generation.Config()), budget, seed=0).run(Split(torch.cat([dark, bright])))
    used, needed = family.notes()
    assert "Perplexity" in used
    codes = sum(rows * columns for rows, columns in family.grids)  # type: ignore[attr-defined]
    bits = float(needed.split(" bits a code")[0].split()[-1])
    assert 0.5 / codes < bits < 3.0 / codes + 0.1 and "(3.00 without one)" in needed, needed
