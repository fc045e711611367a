"""Textures: what they take.

    python -m benchmarks.textures texto EXEMPLAR        learning against one patch an iteration; 1280 x 768; one and two layers
    python -m benchmarks.textures large EXEMPLAR        4096 x 4096 into a file, and the memory of the process
    python -m benchmarks.textures all EXEMPLAR          every method: seconds, memory, patch distance; a table and a plot
    python -m benchmarks.textures sheet RUN OUT.png     the pictures of a study's folder: a row a method, a column an exemplar
    python -m benchmarks.textures maps EXEMPLAR OUT.png where the parts of three syntheses come from

Each method of `all` runs in a process of its own, and not again where `runs/textures-cost` has its row: feed-forward ones make
1280 x 768, the others 256 x 256, from the middle 256 x 256 of the exemplar; SinGAN is taught at 64 x 64 with 500 turns a scale.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from sfumato import textures
from sfumato.families.texto import Texto
from sfumato.families.texture import Plane, Texture
from sfumato.files import write_atomic
from sfumato.images import read_picture, to_float, to_uint8, write_picture
from sfumato.maths.layered_transport import ascend_layers, cell_in_layers, grouped
from sfumato.maths.regions import Box
from sfumato.maths.transport import ascend, assigned, cell, dual
from sfumato.metrics.copied import closeness, provenance
from sfumato.metrics.patch_sliced import PatchSliced
from sfumato.restorers.synthesis import learnt
from sfumato.streams import stream
from sfumato.studies.results import read_resolved
from sfumato.tasks.texture import Texture as TextureTask

SIZE = (768, 1280)
SETTINGS: dict[str, list[str]] = {  # what differs from the defaults
    "singan": ["turns=500"],
    "psgan": ["turns=500"],
    "sgan": ["turns=500"],
    "gpdm": ["turns=50"],
    "feature_transport": ["turns=400"],
}


def middle(path: str, side: int = 256) -> torch.Tensor:
    """The middle of a picture, [1, C, side, side], in [-1, 1]."""
    x = read_picture(path, 3)
    side = min(side, *x.shape[1:])
    top, left = (x.shape[1] - side) // 2, (x.shape[2] - side) // 2
    return to_float(x[None, :, top : top + side, left : left + side])


def texto(path: str) -> None:
    """Learning, synthesis and evaluation of one and two layers; and a plain ascent beside ours."""
    x = middle(path)
    models: dict[int, Any] = {}
    for layers in (1, 2):
        start = time.perf_counter()
        models[layers] = learnt(Texto.Config(layers=layers), x, 0)
        print(f"{layers} layer(s): learning {time.perf_counter() - start:.1f} s")
    models[1].window(Box(0, 0, 256, 256), 1)
    for layers, model in models.items():
        spent = []
        for seed in range(3):
            start = time.perf_counter()
            model.window(Box(0, 0, *SIZE), seed)
            spent.append(time.perf_counter() - start)
        print(f"{layers} layer(s): {SIZE[1]} x {SIZE[0]} in {min(spent):.2f} s")
    canvas = models[1]._canvas(0, Box(0, 0, 514, 514), 0, None)
    windows = torch.nn.functional.unfold(canvas[None], 3)[0].T.contiguous()
    layered(windows, models[1].points_0)
    plain(windows, models[1].points_0)


def layered(x: torch.Tensor, y: torch.Tensor) -> None:
    """One and two layers from the same patches to the same targets: seconds to move them, cost, and shares of the targets."""
    rng, n = stream(0, "layers"), len(y)
    far = float((x.mean(0) - y).square().sum(1).mean() + x.var(0).sum())

    def draw(count: int) -> torch.Tensor:
        return x[torch.randint(len(x), (count,), generator=rng)]

    settings: dict[str, Any] = {"steps": 3000, "batch": 512, "rate": 0.05 * far}
    *_, (_, v) = ascend(draw, y, **settings)
    *_, (_, layers) = ascend_layers(draw, y, grouped(y, round(n**0.5), rng), **settings)
    maps = {"one layer": lambda: cell(x, y, v), "two layers": lambda: cell_in_layers(x, y, layers)}
    spent: dict[str, list[float]] = {name: [] for name in maps}
    moved = {}
    for _ in range(7):  # in turns, since a machine's speed drifts
        for name, go in maps.items():
            start = time.perf_counter()
            moved[name] = go()
            spent[name].append(time.perf_counter() - start)
    for name, place in moved.items():
        cost = float((x - y[place]).square().sum(1).mean())
        uneven = float((torch.bincount(place, minlength=n) / len(x) - 1 / n).abs().sum()) / 2
        print(
            f"{name}: {len(x):,} patches in {min(spent[name]):.3f} s, cost {cost:.4f}, {uneven:.3f} of the mass off its target"
        )


def plain(x: torch.Tensor, y: torch.Tensor) -> None:
    """Seconds until a dual value: batches of 512 against one patch an iteration, the same draws, v averaged in both."""
    rng, n = stream(0, "plain"), len(y)
    test = x[torch.randint(len(x), (20_000,), generator=rng)]
    far = float((x.mean(0) - y).square().sum(1).mean() + x.var(0).sum())

    def draw(count: int) -> torch.Tensor:
        return x[torch.randint(len(x), (count,), generator=rng)]

    start, v = time.perf_counter(), torch.zeros(n)
    for _, v in ascend(draw, y, steps=3000, batch=512, rate=0.05 * far):  # noqa: B007
        pass
    ours, reached = time.perf_counter() - start, float(dual(test, y, v))
    best, spent = -float("inf"), 0.0
    for rate in (0.1, 1.0, 10.0):  # its step C / sqrt(k); the best of three
        v, mean, start = torch.zeros(n), torch.zeros(n), time.perf_counter()
        k = 0
        while time.perf_counter() - start < 10 * ours:
            k += 1
            place = int(assigned(draw(1), y, v)[0])
            v += rate * far / n / k**0.5
            v[place] -= rate * far / k**0.5
            mean += (v - mean) / k
        value = float(dual(test, y, mean))
        if value > best:
            best, spent = value, time.perf_counter() - start
        print(
            f"one patch an iteration, C = {rate}: dual {value:.4f} after {k:,} in {time.perf_counter() - start:.0f} s"
        )
    print(f"batches of 512: dual {reached:.4f} in {ours:.1f} s; one at a time {best:.4f} in {spent:.0f} s")


def large(path: str) -> None:
    """A picture of 4096 x 4096, in strips, by texto, and the memory of its process beside that of 512 x 512."""
    with tempfile.TemporaryDirectory() as place:
        kept = Path(place) / "kept"
        run("texture", path, "--method", "texto", "--save", kept, "--size", "64", "-o", f"{place}/a.png")
        for side in (512, 4096):
            start = time.perf_counter()
            used = run("texture", kept, "--size", side, "-o", f"{place}/{side}.png")
            print(f"{side} x {side}: {time.perf_counter() - start:.1f} s, {used:.0f} MiB at most")


def run(*arguments: object) -> float:
    """The peak memory of a command, MiB."""
    code = (
        "import resource, sys\nfrom sfumato.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print('PEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], check=True, capture_output=True, text=True
    )
    return int(done.stdout.rsplit("PEAK ", 1)[1]) / 1024


def one(path: str, name: str, out: str) -> None:
    """One method, in this process; a line of JSON."""
    x = middle(path, 64 if name == "singan" else 256)
    start = time.perf_counter()
    model: Texture = learnt(textures.method_of(name, SETTINGS.get(name, [])), x, 0)
    learning = time.perf_counter() - start
    size = SIZE if isinstance(model, Plane) else (x.shape[2], x.shape[3])
    start = time.perf_counter()
    made = textures.made(model, size, 0)
    synthesis = time.perf_counter() - start
    true = to_uint8(x)
    metric = PatchSliced(PatchSliced.Config())
    part = made[None, :, : x.shape[2], : x.shape[3]]
    metric.update(part, true, TextureTask(TextureTask.Config()).observe(x, stream(0, "mask")))
    share = provenance(part[0], true[0], 8, closeness(true[0])).same.float().mean()
    write_picture(made, out)
    found = {"method": name, "size": f"{size[1]} x {size[0]}", "learning": learning, "synthesis": synthesis}
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    found |= {"MiB": int(status["VmHWM"].split()[0]) / 1024}  # of this program alone, unlike what getrusage may inherit
    print(json.dumps(found | {"patch": metric.compute().value, "copied": float(share)}))


def every(path: str) -> None:
    """A table and a plot of all methods."""
    rows = []
    folder = Path("runs/textures-cost")
    folder.mkdir(parents=True, exist_ok=True)
    for name in textures.methods():
        kept = folder / f"{name}.json"
        if not kept.is_file():
            command = [sys.executable, "-m", "benchmarks.textures", "one", path, name, str(folder / f"{name}.png")]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(name, done.stderr.strip().splitlines()[-1])
                continue
            write_atomic(kept, done.stdout.strip().splitlines()[-1])
        rows.append(json.loads(kept.read_text()))
        print(
            {key: round(value, 3) if isinstance(value, float) else value for key, value in rows[-1].items()}, flush=True
        )
    with Path("docs/results/textures-cost.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    draw(rows)


def sheet(folder: str, out: str) -> None:
    """Exemplars in the first row, then each method's syntheses."""
    study = read_resolved(Path(folder))
    names = ["true", *(f"{method.slug}--texture--{study.seeds[0]}" for method in study.methods)]
    found = [path for name in names if (path := Path(folder) / "pictures" / f"{name}.png").is_file()]
    rows = []
    for path in found:
        column = Image.open(path).convert("RGB")
        side = column.width
        row = Image.new("RGB", (column.height, side), "white")
        for top in range(0, column.height, side + 2):
            row.paste(column.crop((0, top, side, top + side)), (top, 0))
        rows.append(row)
    whole = Image.new("RGB", (rows[0].width, sum(row.height + 2 for row in rows)), "white")
    for i, row in enumerate(rows):
        whole.paste(row, (0, i * (row.height + 2)))
    whole.save(out, quality=88)
    print(out, [path.stem for path in found])


def maps(path: str, out: str) -> None:
    """The exemplar; then by Texto, GPNN and quilting a synthesis, and below it the map of where its parts come from."""
    x = middle(path, 128)
    above, below = (
        [to_uint8(x)[0]],
        [textures.shown(provenance(to_uint8(x)[0], to_uint8(x)[0], 8, 0.0), to_uint8(x)[0])],
    )
    for name in ("texto", "gpnn", "quilting"):
        family = learnt(textures.method_of(name, []), x, 0)
        picture = textures.made(family, (128, 128), 0)
        shown, share = textures.sources(family, picture)
        print(f"{name}: {share:.0%} copied")
        above.append(picture)
        below.append(shown)
    write_picture(textures.sheet([*above, *below], len(above)), Path(out))


def draw(rows: list[dict[str, Any]]) -> None:
    """Patch distance against the seconds to learn and make a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    _, axes = pyplot.subplots(figsize=(9, 5.5), layout="constrained")
    for row in rows:
        seconds = row["learning"] + row["synthesis"]
        copies = row["copied"] > 0.5
        axes.scatter(seconds, row["patch"], marker="x" if copies else "o", color="0.5" if copies else "#1f4e79", s=45)
        axes.annotate(row["method"], (seconds, row["patch"]), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="seconds to learn and make one picture, two cores")
    axes.set(ylabel="patch distance, four scales (levels squared)", title="x: over half is copied")
    axes.spines[["top", "right"]].set_visible(False)
    pyplot.savefig("docs/images/textures-cost.png", dpi=150)


if __name__ == "__main__":
    {"texto": texto, "large": large, "one": one, "all": every, "sheet": sheet, "maps": maps}[sys.argv[1]](*sys.argv[2:])
