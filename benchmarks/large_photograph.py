"""A photograph of 12 megapixels with ten holes of 300 pixels, filled by what comes with the package.

    python -m benchmarks.large_photograph photograph.jpg [OUT.png] [MODEL]

The photograph is made 4,000 x 3,000, with transparency, a colour profile and EXIF. Prints seconds and peak memory of the
command, and whether anything outside the holes changed; then how much finer structure than the model's own the fills have:
the power of what 64 pixels over a window twice as long cannot hold, inside a hole over that in the ring around it.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms
from scipy import ndimage

SIZE, SIDE, HOLES, MODEL = (4000, 3000), 300, 10, 64


def prepared(photograph: str, folder: Path) -> tuple[Path, Path, list[tuple[int, int]]]:
    """The large photograph, its mask, and where its holes are."""
    with Image.open(photograph) as image:
        large = image.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
    grain = np.random.default_rng(0).normal(0, 4, (SIZE[1], SIZE[0], 1))  # as a sensor adds; enlarging took it away
    levels = np.clip(np.asarray(large) + ndimage.gaussian_filter(grain, (0.7, 0.7, 0)) * 2, 0, 255).astype(np.uint8)
    alpha = np.full((SIZE[1], SIZE[0], 1), 255, np.uint8)
    alpha[:200, :200] = 128
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(np.concatenate([levels, alpha], 2)).save(folder / "photo.png", exif=exif, icc_profile=profile)
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    places = [(400 + 1600 * (k % 2) + 90 * k % 300, 250 + 740 * (k // 2)) for k in range(HOLES)]
    for top, left in places:
        mask[top : top + SIDE, left : left + SIDE] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    return folder / "photo.png", folder / "mask.png", places


def main(photograph: str, out: str = "", model: str = "") -> None:
    """Print what it took and what it kept."""
    folder = Path(tempfile.mkdtemp())
    photo, mask, places = prepared(photograph, folder)
    target = Path(out) if out else folder / "restored.png"
    command = [sys.executable, "-m", "sfumato", "restore", str(photo), "--mask", str(mask), "--out", str(target)]
    start = time.perf_counter()
    subprocess.run([*command, *(["--model", model] if model else [])], check=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    with Image.open(photo) as before, Image.open(target) as after:
        kept = {key: before.info.get(key) == after.info.get(key) for key in ("icc_profile", "exif")}
        given, made = np.asarray(before), np.asarray(after)
    hole = np.asarray(Image.open(mask)) > 0
    changed = int((given != made).any(2)[~hole].sum())
    print(f"{seconds:.1f} s, {peak:,.0f} MiB; {changed} pixels changed outside the holes, {kept}, alpha kept "
          f"{bool((given[..., 3] == made[..., 3]).all())}")  # fmt: skip
    shares = []
    for top, left in places:
        window = (
            slice(max(top - SIDE // 2, 0), top + 3 * SIDE // 2),
            slice(max(left - SIDE // 2, 0), left + 3 * SIDE // 2),
        )
        part = Image.fromarray(made[window][..., :3].mean(2).astype(np.float32))
        small = part.resize((MODEL, MODEL), Image.Resampling.BOX)
        fine = np.asarray(part) - np.asarray(small.resize(part.size, Image.Resampling.BICUBIC))
        inside = ndimage.binary_erosion(hole[window], iterations=12)
        ring = ~ndimage.binary_dilation(hole[window], iterations=12)
        shares.append(float((fine[inside] ** 2).mean() / (fine[ring] ** 2).mean()))
    print("power of fine structure, hole over ring:", ", ".join(f"{share:.2f}" for share in shares))


if __name__ == "__main__":
    main(*sys.argv[1:])
