"""Textures: the Gaussian field has the law it names, texto moves patches as transport says, and planes do not see tiles."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.data.base import DataSpec
from sfumato.data.exemplar import Exemplar
from sfumato.errors import CapabilityError, ConfigError, DataError, ShapeError
from sfumato.families.base import Family
from sfumato.families.gaussian_field import GaussianField
from sfumato.families.texto import Texto
from sfumato.families.texture import Plane, Texture, Wish
from sfumato.images import to_float
from sfumato.kinds import discover, parse
from sfumato.maths.regions import Box
from sfumato.restorers.synthesis import learnt
from sfumato.streams import stream

QUICK: dict[str, dict[str, Any]] = {
    "texto": {"turns": 20, "targets": 50, "scales": 2},
    "feature_transport": {"turns": 2, "width": 4, "scales": 2, "targets": 50, "seen": 50},
    "psgan": {"turns": 2, "width": 4},
    "sgan": {"turns": 2, "width": 4},
}


def planes() -> list[str]:
    return [name for name, kind in discover(Family).items() if issubclass(kind, Plane)]


def exemplar(rows: int = 32, columns: int = 40, channels: int = 3) -> torch.Tensor:
    coarse = torch.rand(1, channels, rows // 4, columns // 4, generator=stream(0, "exemplar"))
    x = torch.nn.functional.interpolate(coarse, size=(rows, columns), mode="bilinear")
    return 1.6 * x - 0.8


def settings(name: str) -> Any:
    return parse(Family, {"kind": name, **QUICK.get(name, {})})


@pytest.mark.parametrize("name", planes())
def test_a_plane_does_not_see_how_it_is_cut(name: str) -> None:
    model: Any = learnt(settings(name), exemplar(), 0)
    whole = model.window(Box(-40, 200, 330, 120), 7)[0]
    assert whole.shape == (3, 330, 120)
    for top, left, rows, columns in ((-40, 200, 50, 60), (0, 250, 10, 20), (100, 210, 190, 1), (255, 255, 2, 2)):
        part = model.window(Box(top, left, rows, columns), 7)[0]
        assert torch.equal(part, whole[:, top + 40 : top + 40 + rows, left - 200 : left - 200 + columns])
    strips = list(model.strips(Box(-40, 200, 330, 120), 7))
    assert len(strips) == 3  # rows of blocks
    assert torch.equal(torch.cat(strips, 1), whole)
    assert not torch.equal(model.window(Box(0, 0, 8, 8), 7), model.window(Box(0, 0, 8, 8), 8))


@pytest.mark.parametrize("name", planes())
def test_a_plane_with_a_period_repeats(name: str) -> None:
    model: Any = learnt(settings(name), exemplar(), 0)
    rows, columns = 3 * model.grain, 5 * model.grain
    rows, columns = max(rows, 96), max(columns, 160)
    first = model.window(Box(0, 0, 40, 40), 3, (rows, columns))
    again = model.window(Box(rows, 2 * columns, 40, 40), 3, (rows, columns))
    assert torch.allclose(first, again, atol=1e-4)
    assert not torch.allclose(first, model.window(Box(rows, columns, 40, 40), 3), atol=1e-3)  # nearly untrained
    if model.grain > 1:
        with pytest.raises(CapabilityError, match="multiples of"):
            model.window(Box(0, 0, 8, 8), 3, (rows + 1, columns))


def test_the_gaussian_field_has_the_mean_and_the_covariance_of_its_texton() -> None:
    """By sums over pixels in numpy, of many draws; the bound is four standard errors."""
    x = exemplar(24, 24, 2)
    model = learnt(GaussianField.Config(), x, 0)
    assert isinstance(model, GaussianField)
    t, mean = model.textons[0].double().numpy(), model.mean.double().numpy()
    window = model.window(Box(0, 0, 1536, 1536), 0)[0].double().numpy()
    assert np.abs(window.mean((1, 2)) - x.double().numpy().mean((0, 2, 3))).max() < 0.02
    z = window - mean[:, None, None]
    for c, d, dy, dx in ((0, 0, 0, 0), (0, 1, 0, 0), (1, 1, 3, 1), (0, 0, 0, 7), (1, 0, 5, 2)):
        wanted = (t[c, : 24 - dy, : 24 - dx] * t[d, dy:, dx:]).sum()
        found = (z[c, : 1536 - dy, : 1536 - dx] * z[d, dy:, dx:]).mean()
        assert abs(found - wanted) < 0.1 * (t[0] ** 2).sum(), (c, d, dy, dx, found, wanted)


def test_the_texton_of_a_periodic_picture_keeps_its_spectrum() -> None:
    rows, columns = np.mgrid[:32, :48]
    wave = np.cos(2 * np.pi * (3 * rows / 32 + 5 * columns / 48)) / 2
    model = learnt(GaussianField.Config(), torch.from_numpy(wave).float()[None, None], 0)
    assert isinstance(model, GaussianField)
    wanted = np.abs(np.fft.fft2(wave)) / np.sqrt(wave.size)
    found = np.abs(np.fft.fft2(model.textons[0, 0].numpy()))
    assert np.abs(found - wanted).max() < 0.04 * wanted.max()  # a wave steps at the border as everywhere


def test_a_masked_field_sees_only_what_counts() -> None:
    x = exemplar()
    known = torch.zeros(1, 1, 32, 40)
    known[..., :20] = 1
    spoilt = torch.where(known > 0, x, torch.ones_like(x))
    one, other = (learnt(GaussianField.Config(), picture, 0, known=known) for picture in (x, spoilt))
    box = Box(0, 0, 30, 30)
    assert torch.equal(one.window(box, 1), other.window(box, 1))  # type: ignore[attr-defined]


@pytest.mark.parametrize("layers", [1, 2])
def test_texto_pushes_patches_to_equal_shares(layers: int) -> None:
    """After the ascent each target gets about as much as any other; without it, some get most."""
    config = Texto.Config(targets=60, scales=1, turns=500, batch=128, layers=layers, components=1)
    model = learnt(config, exemplar(64, 64), 0)
    untold = learnt(Texto.Config(targets=60, scales=1, turns=1, layers=layers, rate=1e-9), exemplar(64, 64), 0)

    def unevenness(family: Texture) -> float:
        assert isinstance(family, Texto)
        canvas = family._canvas(0, Box(0, 0, 200, 200), 5, None)
        share = torch.bincount(family.moved(0, canvas), minlength=60) / 198**2
        return float((share - 1 / 60).abs().sum())

    # What is moved is the field itself, of which the mixture that was learnt from is only a fit
    assert unevenness(model) < 0.5 * unevenness(untold)


def test_texto_is_the_mean_of_the_patches_it_names() -> None:
    """By hand, in numpy: block pixels from the canvas of one scale."""
    model = learnt(Texto.Config(targets=40, scales=1, turns=30), exemplar(16, 16), 0)
    assert isinstance(model, Texto)
    made = model.window(Box(0, 0, 6, 6), 2)[0].numpy()
    canvas = model._canvas(0, Box(-2, -2, 260, 260), 2, None).numpy()
    points, v = model.points_0.numpy(), model.potentials_0.numpy()
    total = np.zeros((3, 6, 6))
    for top in range(-2, 6):
        for left in range(-2, 6):
            patch = canvas[:, top + 2 : top + 5, left + 2 : left + 5].reshape(-1)
            best = points[np.argmin(((patch - points) ** 2).sum(1) - v)].reshape(3, 3, 3)
            for i in range(3):
                for j in range(3):
                    if 0 <= top + i < 6 and 0 <= left + j < 6:
                        total[:, top + i, left + j] += best[:, i, j] / 9
    assert np.abs(total - made).max() < 1e-4


def test_texto_enlarges_to_the_patches_of_twice_the_size_at_the_same_places() -> None:
    model = learnt(Texto.Config(targets=30, scales=2, turns=30), exemplar(32, 32), 0)
    assert isinstance(model, Texto)
    box = Box(6, 10, 8, 8)
    fine = model._canvas(0, box, 4, None).numpy()
    coarse = model._canvas(1, Box(-4, -4, 24, 24), 4, None).numpy()
    points, v, larger = model.points_1.numpy(), model.potentials_1.numpy(), model.larger_1.numpy()
    total, count = np.zeros((3, 8, 8)), np.zeros((8, 8))
    for top in range(-4, 18):
        for left in range(-4, 18):
            patch = coarse[:, top + 4 : top + 7, left + 4 : left + 7].reshape(-1)
            best = larger[np.argmin(((patch - points) ** 2).sum(1) - v)].reshape(3, 6, 6)
            for i in range(6):
                for j in range(6):
                    y, x = 2 * top + i - box.top, 2 * left + j - box.left
                    if 0 <= y < 8 and 0 <= x < 8:
                        total[:, y, x] += best[:, i, j]
                        count[y, x] += 1
    assert (count == 9).all()
    assert np.abs(total / count - fine).max() < 1e-4


def test_texto_takes_only_patches_that_count() -> None:
    x = torch.full((1, 3, 32, 32), -0.5)
    x[..., 16:] = 0.9
    known = torch.zeros(1, 1, 32, 32)
    known[..., :16] = 1
    made = learnt(Texto.Config(targets=30, scales=2, turns=20), x, 0, known=known).sample(1, rng=stream(0, "sample"))
    assert float(made.max()) < 0


@pytest.mark.parametrize("name", [name for name, kind in discover(Family).items() if issubclass(kind, Texture)])
def test_one_colour_stays_one_colour(name: str) -> None:
    """What has no texture is made as it is by all that copy; what is trained is only asked not to fail."""
    if name == "portilla_simoncelli":
        pytest.importorskip("plenoptic")
    small = {**QUICK.get(name, {}), **({"turns": 2} if "turns" in kind_fields(name) else {})}
    model = learnt(parse(Family, {"kind": name, **small}), torch.full((1, 3, 24, 24), 0.25), 0)
    made = model.sample(1, size=(17, 31), rng=stream(0, "sample"))
    assert made.shape == (1, 3, 17, 31)
    if (not list(model.parameters()) and "rate" not in kind_fields(name)) or name == "texto":
        assert float((made - 0.25).abs().max()) < 0.02, name


def kind_fields(name: str) -> Any:
    config: Any = discover(Family)[name].Config
    return config.model_fields


def test_a_picture_that_is_too_small_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match="too small for texto"):
        learnt(Texto.Config(), torch.zeros(1, 3, 4, 4), 0)
    with pytest.raises(ConfigError, match="leaves nothing"):
        learnt(GaussianField.Config(), exemplar(), 0, known=torch.zeros(1, 1, 32, 40))
    with pytest.raises(ConfigError, match="it restores none"):
        GaussianField(GaussianField.Config(), DataSpec(channels=3, size=(8, 8), condition=4))


@pytest.mark.parametrize("name", ["gpnn", "gpdm", "feature_transport", "neural_statistics"])
def test_a_mask_without_a_patch_is_refused(name: str) -> None:
    known = torch.zeros(1, 1, 32, 40)
    known[..., 5:6] = 1
    with pytest.raises(ConfigError, match="lies in the mask"):
        learnt(settings(name), exemplar(), 0, known=known).sample(1, rng=stream(0, "sample"))


@pytest.mark.parametrize("name", ["gpnn", "gpdm", "texto", "feature_transport"])
def test_a_picture_smaller_than_a_patch_is_made(name: str) -> None:
    few = {**QUICK.get(name, {}), **({"turns": 2} if "turns" in kind_fields(name) else {})}
    model = learnt(parse(Family, {"kind": name, **few}), exemplar(), 0)
    assert model.sample(1, size=(3, 50), rng=stream(0, "sample")).shape == (1, 3, 3, 50)


def test_make_is_told_how_far_it_is() -> None:
    told: list[float] = []
    model = learnt(GaussianField.Config(), exemplar(), 0)
    model.make(Wish((600, 300), watch=told.append), stream(0, "sample"))
    assert told[0] == 0
    assert told[-1] == 1
    assert told == sorted(told)


def save(path: Path, array: np.ndarray, mode: str | None = None) -> Path:
    Image.fromarray(array, mode).save(path)
    return path


def test_an_exemplar_is_read_whole_whatever_its_form(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colour = save(tmp_path / "a.png", rng.integers(0, 256, (10, 14, 3), dtype=np.uint8))
    data = Exemplar(Exemplar.Config(path=colour)).load()
    assert data.spec == DataSpec(channels=3, size=(10, 14))
    assert data.train.known is None
    assert len(data.test) == 1
    assert torch.equal(data.test.images, data.train.images)
    sixteen = save(tmp_path / "s.png", rng.integers(0, 65536, (9, 9), dtype=np.uint16))
    assert Exemplar(Exemplar.Config(path=sixteen)).load().spec == DataSpec(channels=1, size=(9, 9))
    clear = rng.integers(0, 256, (8, 8, 4), dtype=np.uint8)
    clear[..., 3] = 0
    clear[:, :5, 3] = 255
    seen = Exemplar(Exemplar.Config(path=save(tmp_path / "c.png", clear))).load().train.known
    assert seen is not None
    assert seen[0, 0].sum() == 40
    with pytest.raises(DataError, match="nothing of"):
        clear[..., 3] = 0
        Exemplar(Exemplar.Config(path=save(tmp_path / "c.png", clear))).load()


def test_exemplars_of_several_sizes_lie_in_the_corner_and_a_mask_has_the_size_of_its_picture(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    save(folder / "a.png", np.full((6, 9), 40, np.uint8))
    save(folder / "b.png", np.full((8, 5), 90, np.uint8))
    data = Exemplar(Exemplar.Config(path=folder)).load()
    assert data.train.images.shape == (2, 1, 8, 9)
    known = data.train.known
    assert known is not None
    assert known.sum((1, 2, 3)).tolist() == [54, 40]
    mask = save(tmp_path / "m.png", np.full((6, 8), 255, np.uint8))
    with pytest.raises(DataError, match="same size"):
        Exemplar(Exemplar.Config(path=folder / "a.png", mask=mask)).load()
    with pytest.raises(DataError, match="one mask"):
        Exemplar(Exemplar.Config(path=folder, mask=mask)).load()
    with pytest.raises(ShapeError, match="does not fit"):
        Exemplar(Exemplar.Config(path=folder / "a.png", window=(20, 4))).load()
    small = Exemplar(Exemplar.Config(path=folder, shrink=1, window=(4, 4))).load()
    assert small.train.images.shape == (2, 1, 4, 4)


def test_shrinking_keeps_only_blocks_that_count_altogether() -> None:
    from sfumato.data.base import Split

    known = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    known[0, 0, 0, 0] = False
    smaller = Split(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), known=known).smaller(2).known
    assert smaller is not None
    assert smaller.flatten().tolist() == [False, True, True, True]


def test_pixels_are_floats_of_the_exemplar() -> None:
    assert float(to_float(torch.zeros(1, 1, 1, 1, dtype=torch.uint8))) == -1
