"""How well people are found: photographs without anybody, and the same with a person pasted into them.

    python -m benchmarks.people photographs/

The weights are those that `sfumato remove --weights` kept. The person is scikit-image's astronaut, cut out by the same
networks at full size, 200 to 400 pixels high, at the lower border; photographs are brought to 1,000 pixels.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data

from sfumato.data.folder import files
from sfumato.segmenters.people import People

HEIGHTS = (400, 300, 250, 200)


def main(folder: str) -> None:
    """Print false alarms, and the intersection over union of what was found."""
    people = People(People.Config())
    astronaut = torch.from_numpy(data.astronaut().copy()).permute(2, 0, 1)
    cut_out = people.mask(astronaut)
    alarms, found = [], []
    pictures, _ = files(Path(folder))
    for number, path in enumerate(pictures):
        with Image.open(path) as image:
            small = image.convert("RGB")
        small.thumbnail((1000, 1000))
        x = torch.from_numpy(np.array(small)).permute(2, 0, 1)
        if bool(people.mask(x).any()):
            alarms.append(path.name)
        side = HEIGHTS[number % len(HEIGHTS)]
        person = F.interpolate(astronaut[None].float(), (side, side), mode="bilinear", antialias=True)[0].byte()
        mask = F.interpolate(cut_out[None, None].float(), (side, side), mode="area")[0, 0] > 0.5
        rows, columns = x.shape[1:]
        place = slice(rows - side, rows), slice((columns - side) // 3, (columns - side) // 3 + side)
        x[:, *place] = torch.where(mask, person, x[:, *place])
        true = torch.zeros(rows, columns, dtype=torch.bool)
        true[place] = mask
        made = people.mask(x)
        found.append(float((made & true).sum() / (made | true).sum()))
    print(f"{len(alarms)} of {len(pictures)} photographs without anybody had an alarm: {alarms}")
    print(
        f"with a person: missed (IoU below 0.1) {sum(iou < 0.1 for iou in found)}, IoU {min(found):.2f} to {max(found):.2f}, "
        f"median {statistics.median(found):.2f}"
    )


if __name__ == "__main__":
    main(sys.argv[1])
