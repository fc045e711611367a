"""The mathematics under textures: keyed noise, slices, two layers of transport, votes, nearest fields, periodic components."""

import numpy as np
import pytest
import torch
from scipy import stats

from sfumato.maths.keyed import normals
from sfumato.maths.layered_transport import FAR, ascend_layers, cell_in_layers, grouped
from sfumato.maths.nearest_field import descriptors, nearest_field
from sfumato.maths.patches import whole
from sfumato.maths.periodic import convolved, periodic_component
from sfumato.maths.regions import Box
from sfumato.maths.sliced import apart, directions, quantiles, sliced
from sfumato.maths.transport import ascend, cell, dual
from sfumato.maths.votes import averaged, windows
from sfumato.streams import stream


def test_keyed_noise_is_standard_normal_and_its_places_are_independent() -> None:
    z = normals(Box(-300, 1 << 40, 600, 600), 2, seed=3)
    assert stats.kstest(z.flatten()[::7].numpy(), "norm").pvalue > 1e-3
    for other in (z[:, 1:, :] * z[:, :-1, :], z[:, :, 1:] * z[:, :, :-1], z[:1] * z[1:], z[:, 1:, 1:] * z[:, :-1, :-1]):
        assert abs(float(other.mean())) < 5 / other.numel() ** 0.5
    other_seed, other_name = normals(Box(0, 0, 300, 300), 1, 4), normals(Box(0, 0, 300, 300), 1, 3, "b")
    first = normals(Box(0, 0, 300, 300), 1, 3)
    for z2 in (other_seed, other_name):
        assert abs(float((first * z2).mean())) < 5 / 300


def test_keyed_noise_has_its_period_and_no_other() -> None:
    z = normals(Box(-5, -9, 40, 60), 1, 0, "", (12, 20))[0]
    assert torch.equal(z[:28, :40], z[12:, 20:])
    assert not torch.equal(z[:34], z[6:])


def test_sliced_distances_are_those_of_pot() -> None:
    ot = pytest.importorskip("ot")
    x, y = torch.randn(40, 5, generator=stream(0, "x")), 1.3 * torch.randn(40, 5, generator=stream(0, "y")) + 1
    theta = directions(60, 5, stream(0, "theta"))
    wanted = ot.sliced_wasserstein_distance(x.numpy(), y.numpy(), projections=theta.numpy().T, p=2) ** 2
    assert float(sliced(x, y, theta)) == pytest.approx(wanted, rel=1e-4)
    one = [ot.wasserstein_1d(a.numpy(), b.numpy(), p=1) for a, b in zip(theta @ x.T, theta @ y.T, strict=True)]
    assert apart(theta @ x.T, theta @ y.T, power=1).tolist() == pytest.approx(one, rel=1e-4)
    assert float(sliced(x, x[torch.randperm(40, generator=stream(0, "p"))], theta)) < 1e-10


def test_quantiles_of_another_number_are_those_of_the_same_law() -> None:
    y = torch.rand(1, 5000, generator=stream(0, "y"))
    assert float((quantiles(y, 100) - (torch.arange(100) + 0.5) / 100).abs().max()) < 0.03
    assert float(apart(y[:, :777], y)) < 1e-3


def cloud(n: int = 60) -> torch.Tensor:
    return torch.randn(n, 3, generator=stream(0, "points")) * torch.tensor([1.0, 0.5, 0.2])


def source(n: int) -> torch.Tensor:
    return torch.randn(n, 3, generator=SOURCE) * 0.7


SOURCE = stream(0, "source")


def test_the_dual_is_within_a_hundredth_of_pots_exact_cost() -> None:
    """Against `emd` between many draws of the source and the points, which is the cost of this sample."""
    ot = pytest.importorskip("ot")
    y, x = cloud(), source(2000)
    exact = ot.emd2([], [], ot.dist(x.numpy(), y.numpy()), numItermax=1_000_000)
    *_, (_, v) = ascend(lambda n: x[torch.randint(2000, (n,), generator=SOURCE)], y, steps=3000, batch=256, rate=0.2)
    found = float(dual(x, y, v))
    assert found <= exact + 1e-5
    assert found > 0.99 * exact


def test_two_layers_push_as_exactly_at_nearly_the_cost_of_one() -> None:
    y, x = cloud(100), source(20_000)
    groups = grouped(y, 10, stream(0, "groups"))
    *_, (_, v) = ascend(source, y, steps=3000, batch=256, rate=0.2)
    *_, (_, layers) = ascend_layers(source, y, groups, steps=3000, batch=256, rate=0.2)
    one, two = cell(x, y, v), cell_in_layers(x, y, layers)
    costs = [float((x - y[place]).square().sum(1).mean()) for place in (one, two)]
    uneven = [float((torch.bincount(place, minlength=100) / len(x) - 0.01).abs().sum()) for place in (one, two)]
    noise = 0.01 * 100 * (2 / (np.pi * 0.01 * len(x))) ** 0.5  # of the shares of 20,000 draws, were they exact
    assert costs[1] < 1.05 * costs[0]
    assert max(uneven) < noise + 0.05, (uneven, noise)


def test_a_group_without_points_is_never_gone_to() -> None:
    y = torch.zeros(4, 2)
    layers = grouped(y, 3, stream(0, "groups"))
    assert (layers.outer > FAR).sum() == len(layers.group.unique())
    assert set(cell_in_layers(torch.randn(50, 2, generator=stream(0, "x")), y, layers).tolist()) <= {0, 1, 2, 3}


def test_the_cell_in_layers_is_the_nearest_of_the_nearest_group() -> None:
    y, x = cloud(40), source(200)
    layers = grouped(y, 6, stream(0, "groups"))
    layers = layers._replace(inner=torch.rand(40, generator=stream(0, "v")), outer=layers.outer + torch.rand(6))
    wanted = []
    for one in x.double():
        group = int(((one - layers.centres.double()).square().sum(1) - layers.outer.double()).argmin())
        own = (layers.group == group).nonzero()[:, 0]
        wanted.append(int(own[((one - y[own].double()).square().sum(1) - layers.inner[own].double()).argmin()]))
    assert cell_in_layers(x, y, layers).tolist() == wanted


def test_convolved_is_a_sum_over_the_kernel() -> None:
    kernel, noise = torch.rand(2, 3, 4, generator=stream(0, "k")), torch.rand(1, 8, 9, generator=stream(0, "n"))
    found = convolved(kernel, noise)
    assert found.shape == (2, 6, 6)
    for c, i, j in ((0, 0, 0), (1, 5, 5), (0, 2, 3)):
        wanted = sum(float(kernel[c, a, b] * noise[0, i + 2 - a, j + 3 - b]) for a in range(3) for b in range(4))
        assert float(found[c, i, j]) == pytest.approx(wanted, abs=1e-5)


def test_the_periodic_component_has_the_laplacian_of_the_inside() -> None:
    """Moisan: the Laplacian of p on the torus is that of u with differences over the border left out; in numpy."""
    u = np.random.default_rng(0).normal(size=(12, 15))
    p = periodic_component(torch.from_numpy(u)).numpy()
    inside = np.zeros_like(u)
    for axis in (0, 1):
        step = np.diff(u, axis=axis)
        inside += np.concatenate([step, np.zeros_like(u.take([0], axis))], axis)
        inside -= np.concatenate([np.zeros_like(u.take([0], axis)), step], axis)
    torus = sum(np.roll(p, s, axis) - p for axis in (0, 1) for s in (1, -1))
    assert np.abs(torus - inside).max() < 1e-10
    assert p.mean() == pytest.approx(u.mean())


def test_votes_average_by_hand() -> None:
    x = torch.rand(1, 2, 5, 6, generator=stream(0, "x"))
    moved = windows(x, 3) + torch.arange(12.0)[None, :, None]
    made = averaged(moved, (5, 6), 3)
    corner, middle = made[0, :, 0, 0] - x[0, :, 0, 0], made[0, :, 2, 2] - x[0, :, 2, 2]
    assert torch.allclose(corner, torch.tensor(0.0), atol=1e-5)
    assert torch.allclose(
        middle, torch.tensor(np.mean([4 * r + c for r in range(3) for c in range(3)])).float(), atol=1e-5
    )


def test_a_nearest_field_by_trying_is_nearly_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = torch.rand(1, 3, 12, 12, generator=stream(0, "c"))
    x = torch.nn.functional.interpolate(coarse, size=(72, 72), mode="bilinear")
    able = torch.ones(68, 68, dtype=torch.bool)
    able[20:48, 20:48] = False
    targets = (~able).flatten().nonzero()[:, 0]
    of = descriptors(x, 5, able, 16, stream(0, "d"))
    _, far = nearest_field(of, targets, able, stream(0, "e"))
    brute = torch.cdist(of.flatten(0, 1)[targets].double(), of[able].double()).square().amin(1)
    assert torch.allclose(far.double(), brute, atol=1e-4)
    monkeypatch.setattr("sfumato.maths.nearest_field.EXACT", 0)
    tried, near = nearest_field(of, targets, able, stream(0, "e"))
    assert able.flatten()[tried].all()
    assert float(near.mean()) < 1.3 * float(far.mean()) + 1e-6
    random = of[able][torch.randint(int(able.sum()), (len(targets),), generator=stream(0, "r"))]
    assert float(near.mean()) < 0.2 * float((of.flatten(0, 1)[targets] - random).square().sum(1).mean())


def test_whole_windows_hold_nothing_unknown() -> None:
    known = (torch.rand(2, 1, 9, 8, generator=stream(0, "k")) > 0.2).float()
    found = whole(known, 3)
    for k in range(2):
        for i in range(7):
            for j in range(6):
                assert bool(found[k, i, j]) == bool((known[k, 0, i : i + 3, j : j + 3] == 1).all())
