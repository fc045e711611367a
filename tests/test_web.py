"""The page: what is painted becomes a mask of the file's own size, work says how far it is and stops."""

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sfumato
from sfumato.web.page import LARGEST_FILE
from sfumato.web.work import ONE, Request, Work, beside, painted_over, shown

from .cases import call, picture, pixels, refused


def last_of(following: Iterator[Work]) -> Work:
    *_, end = following
    return end


def last(work: Work) -> Work:
    return last_of(work.follow(0.01))


def painted(rows: int = 30, columns: int = 40) -> np.ndarray:
    over = np.zeros((rows, columns), np.uint8)
    over[10:15, 20:30] = 200
    return over


@pytest.fixture()
def photo(tmp_path: Path) -> Path:
    return picture(tmp_path / "a photo.png", 80, 60)


def test_what_is_painted_is_made_at_the_size_of_the_file(photo: Path) -> None:
    work = last(Work(Request(photo, "fill", "telea", painted=painted())))
    assert not work.failed and work.out is not None and work.out.name == "a photo-fill.png"
    changed = (pixels(work.out) != pixels(photo)).any(2)
    assert changed[20:30, 40:60].mean() > 0.9 and not np.delete(changed, range(20, 30), 0).any()
    folder = work.out.parent
    work.forget()
    assert not folder.exists()


def test_each_wish_is_answered(photo: Path) -> None:
    sizes = {}
    for what, more in (("continue", {"border": 7, "model": "telea"}), ("enlarge", {"scale": 4, "model": "bicubic"})):
        work = last(Work(Request(photo, what, **more)))  # type: ignore[arg-type]
        assert work.out is not None, work.failed
        sizes[what] = pixels(work.out).shape[1::-1]
        work.forget()
    assert sizes == {"continue": (94, 74), "enlarge": (320, 240)}
    work = last(Work(Request(photo, "remove", "telea", painted=painted())))
    assert any("1 region removed" in line for line in work.said) and any("guess" in line for line in work.said)


def test_a_model_of_images_restores_by_what_is_chosen(photo: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    images = np.random.default_rng(0).integers(0, 255, (64, 3, 16, 16), np.uint8)
    settings = {"family.width": 4, "budget.batch": 32}
    sfumato.train("ddpm", images, images=64, settings=settings, out=run, progress=False)
    said = set()
    work = Work(Request(photo, "fill", str(run), painted(), restorer="diffpir", calls=3))
    for state in work.follow(0.001):
        said.add(state.promised)
    assert work.out is not None, work.failed
    changed = (pixels(work.out) != pixels(photo)).any(2)
    assert changed[20:30, 40:60].mean() > 0.9 and not np.delete(changed, range(20, 30), 0).any()
    assert any("3 calls" in line for line in said), said
    asked = Request(photo, "fill", str(run), painted())
    assert "name what restores with it" in last(Work(asked)).failed
    for model, words in (("telea", "telea is none"), (None, "choose one under Model")):
        assert words in last(Work(Request(photo, "fill", model, painted(), restorer="ddnm"))).failed


@pytest.mark.parametrize(
    ("what", "more", "words"),
    [
        ("fill", {}, "paint over what is to be made"),
        ("fill", {"painted": np.zeros((30, 40), np.uint8)}, "paint over"),
        ("fill", {"painted": painted(), "model": "bicubic"}, "cannot undo"),
        ("continue", {"border": 0, "model": "telea"}, "one number above 0"),
        ("enlarge", {"scale": 10**6, "model": "bicubic"}, "more than"),
    ],
)
def test_a_wish_that_cannot_be_met_is_told(photo: Path, what: Any, more: Any, words: str) -> None:
    work = last(Work(Request(photo, what, **more)))
    assert work.out is None and words in work.failed


def test_no_picture_is_told(tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"<script>")
    work = last(Work(Request(tmp_path / "no.png", "fill", "telea", painted=painted())))
    assert work.out is None and "no.png" in work.failed


def test_work_that_nobody_follows_stops_after_the_part_at_hand(photo: Path) -> None:
    """The thread ends, nothing is kept, and the next one has its turn."""
    gate = threading.Event()
    work = Work(Request(photo, "fill", "telea", painted=painted()))
    work._made = lambda: (gate.wait(10), work._watch(1, 2), work._folder / "never.png")[2]  # type: ignore[method-assign]
    following = work.follow(0.01)
    next(following)
    following.close()
    work.forget()
    gate.set()
    assert work._thread is not None
    work._thread.join(10)
    assert work.failed == "stopped" and work.out is None and not work._folder.exists() and not ONE.locked()


def test_one_at_a_time(photo: Path) -> None:
    with ONE:
        waiting = Work(Request(photo, "enlarge", "bicubic"))
        following = waiting.follow(0.01)
        next(following)
        assert waiting.out is None
    assert last_of(following).out is not None


def test_a_fault_of_ours_is_told_too(photo: Path) -> None:
    work = Work(Request(photo, "enlarge", "bicubic"))

    def broken() -> Path:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    work._made = broken  # type: ignore[method-assign]
    assert "could not be done (RuntimeError)" in last(work).failed


@pytest.mark.parametrize("turned", [3, 6])
def test_a_photograph_of_a_telephone_is_painted_as_it_is_shown(tmp_path: Path, turned: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turned
    levels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "p.png", exif=exif)
    seen = shown(tmp_path / "p.png")
    over = np.zeros(seen.size[::-1], np.uint8)
    over[5:15, 10:30] = 1
    work = last(Work(Request(tmp_path / "p.png", "fill", "telea", over)))
    assert work.out is not None, work.failed
    changed = (np.asarray(shown(work.out)) != np.asarray(seen)).any(2)
    assert changed[over > 0].mean() > 0.9 and not changed[over == 0].any()


def test_sixteen_bits_are_shown_as_they_are(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 3000, np.uint16)).save(tmp_path / "deep.png")
    assert np.asarray(shown(tmp_path / "deep.png")).mean() == 12


def test_before_is_laid_beside_after() -> None:
    before = Image.new("RGB", (4, 2), "red")
    assert beside(before, Image.new("RGB", (8, 4)), False).getpixel((0, 0)) == (255, 0, 0)
    grown = beside(before, Image.new("RGB", (8, 4)), True)
    assert grown.getpixel((0, 0)) == (128, 128, 128) and grown.getpixel((4, 2)) == (255, 0, 0)


def test_layers_of_the_editor() -> None:
    layer = np.zeros((4, 5, 4), np.uint8)
    layer[1, 2, 3] = 9
    other = np.roll(layer, 1, 1)
    both = painted_over({"background": None, "layers": [layer, other]})
    assert both is not None and both.shape == (4, 5) and int((both > 0).sum()) == 2
    assert painted_over(None) is None and painted_over({"layers": []}) is None


def test_a_large_picture_is_shown_smaller(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 1000)).save(tmp_path / "large.png")
    assert shown(tmp_path / "large.png").size == (1200, 400)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The command in a process of its own, as people run it."""
    if find_spec("gradio") is None:
        pytest.skip("gradio is missing")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "sfumato", "web", "--no-browser", "--port", str(port), "--device", "cpu"]
    served = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    where = f"http://127.0.0.1:{port}"
    for _ in range(600):
        with suppress(OSError), urllib.request.urlopen(where, timeout=5):
            break
        assert served.poll() is None, "it ended"
        time.sleep(0.2)
    yield where
    served.terminate()
    served.wait()


def test_the_page_is_served_and_asks_no_other_server(address: str) -> None:
    with urllib.request.urlopen(address, timeout=30) as answer:
        text = answer.read().decode()
    assert "sfumato" in text and "Paint over what is to be made" in text
    assert "fonts.googleapis" not in text and '<script src="http' not in text


def test_a_file_beyond_the_limit_is_refused(address: str) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    parts = head + bytes(int(LARGEST_FILE.removesuffix("mb")) * 2**20 + 5000) + b"\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(f"{address}/gradio_api/upload", parts, headers)
    with pytest.raises(OSError) as refusal:  # the answer, or the connection cut while the rest was sent
        urllib.request.urlopen(request, timeout=30)
    if isinstance(refusal.value, urllib.error.HTTPError):
        assert refusal.value.code == 413
        refusal.value.close()


CLIENT = """
import json, sys
from gradio_client import Client, handle_file
address, small, layer = sys.argv[1:]
asked = Client(address, verbose=False)
editor = {"background": None, "layers": [handle_file(layer)], "composite": None}
rest = editor, "Fill what I paint", "telea", 4, 2, 0, "as it was trained", 0
made = asked.predict(handle_file(small), *rest, api_name="/restore")
nothing = asked.predict(None, *rest, api_name="/restore")
print(json.dumps([made[1], made[2], nothing[2]]))
"""


def test_a_picture_is_restored_through_the_page(address: str, photo: Path) -> None:
    """The client in a process of its own, since it leaves sockets open."""
    small = picture(photo.with_name("s.png"), 12, 8)
    layer = np.zeros((8, 12, 4), np.uint8)
    layer[2:4, 3:6] = 255
    Image.fromarray(layer).save(photo.with_name("layer.png"))
    command = [sys.executable, "-c", CLIENT, address, str(small), str(photo.with_name("layer.png"))]
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100).stdout
    made, said, nothing = json.loads(out.splitlines()[-1])
    changed = (pixels(Path(made)) != pixels(small)).any(2)
    assert changed[2:4, 3:6].all() and changed.sum() == 6 and not said
    assert nothing == "choose a picture first"


def test_the_command_refuses_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "web", "--model", tmp_path, "--no-browser", words="is not a run")
    assert call("web", "--help") == 0
