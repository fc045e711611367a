"""The curves of studies/sampling-steps.toml: distance against calls, and against milliseconds, for every walk of one DDPM.

sfumato study studies/sampling-steps.toml --out runs/sampling-steps
python -m benchmarks.sampling_steps runs/sampling-steps          docs/images/sampling-steps.svg
"""

import sys
from pathlib import Path
from statistics import mean

import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter

from sfumato.reports.figures import PALETTE
from sfumato.studies.results import Result, read_lines

FD = "FD-lite0-b4"
OUT = Path(__file__).parents[1] / "docs" / "images" / "sampling-steps.svg"
TICKS = (40, 50, 70, 100, 200, 400, 600)
DEFAULTS = {"DDPM": "DDIM"}  # what a family's own walk is called


def curves(results: list[Result]) -> dict[str, dict[int, list[Result]]]:
    """Walks by name and calls; "UniPC 10" is of the curve UniPC."""
    found: dict[str, dict[int, list[Result]]] = {}
    for result in results:
        if result.status == "ok" and result.learned and "T = 500" not in result.method:
            name = result.method.rstrip("0123456789 ")
            found.setdefault(DEFAULTS.get(name, name), {}).setdefault(result.calls, []).append(result)
    return found


def main(folder: str) -> None:
    """Draw both."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    for place, (name, by_calls) in enumerate(curves(read_lines(Path(folder) / "results.jsonl")).items()):
        told = sorted(by_calls.items())
        for axes, x in zip(
            panels, ([c for c, _ in told], [mean(r.milliseconds for r in rs) for _, rs in told]), strict=True
        ):
            values = [[r.scores[FD].value for r in rs] for _, rs in told]
            spread = [[mean(v) - min(v) for v in values], [max(v) - mean(v) for v in values]]
            style = "o-" if len(told) > 1 else "s"
            axes.errorbar(
                x, [mean(v) for v in values], yerr=spread, fmt=style, ms=4, lw=1, capsize=2, label=name,
                color=PALETTE[place % len(PALETTE)], alpha=0.5 + 0.5 * (place < len(PALETTE)),
            )  # fmt: skip
    for axes, label in zip(panels, ("calls of the network", "milliseconds an image"), strict=True):
        axes.set(xscale="log", yscale="log", xlabel=label)
        axes.set_yticks(TICKS, [str(tick) for tick in TICKS])
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.25, which="both", lw=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"{FD}; bars: lowest and highest seed")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    figure.savefig(OUT)


if __name__ == "__main__":
    main(sys.argv[1])
