"""The page itself: a picture, what is wanted of it, a button to start and one to stop, and the answer beside the question."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sfumato import zoo
from sfumato.errors import CapabilityError, SfumatoError
from sfumato.kinds import discover
from sfumato.restorers.answerer import ways
from sfumato.restorers.base import Restorer
from sfumato.web.work import Request, What, Work, beside, painted_over, shown

LARGEST_FILE = "64mb"
WAITING = 8  # requests in the queue; the next one is told to come back
BEST = "the best that comes with sfumato"
TRAINED = "as it was trained"
WANTS: dict[str, What] = {
    "Fill what I paint": "fill",
    "Remove people, or what I paint": "remove",
    "Continue beyond the border": "continue",
    "Enlarge": "enlarge",
}
STYLE = ".sfumato-note textarea {font-family: inherit}"


def gradio() -> Any:
    """The library that draws the page.

    Raises: CapabilityError: it is not installed.
    """
    try:
        import gradio
    except ImportError:
        raise CapabilityError("the web page needs gradio; pip install 'sfumato[web]'") from None
    return gradio


def page(runs: Sequence[Path] = (), device: str = "auto") -> Any:
    """The page as a gradio Blocks; `runs` are folders of trained models that it offers beside those of the package."""
    gr = gradio()
    kinds: dict[str, Any] = discover(Restorer)
    names = [*zoo.names(), *(name for name, kind in kinds.items() if kind.needs is None), *map(str, runs)]
    models = {BEST: None, **{name: name for name in names}}
    hows = [TRAINED, *ways()]

    def look(file: str | None) -> Any:
        if file is None:
            return None, ""
        try:
            return shown(Path(file)), ""
        except SfumatoError as error:
            return None, _nameless(str(error), file)

    def restore(
        file: str | None, editor: Any, want: str, model: str, border: float | None, scale: float, seed: float | None,
        way: str, calls: float | None,
    ) -> Iterator[Any]:  # fmt: skip
        if file is None:
            yield None, None, "choose a picture first"
            return
        request = Request(
            Path(file),
            WANTS[want],
            models[model],
            painted_over(editor),
            int(border or 0),
            int(scale),
            int(seed or 0),
            device,
            None if way == TRAINED else way,
            int(calls) if calls and way != TRAINED else None,
        )
        work = Work(request)
        try:
            for state in work.follow():
                parts = f": part {state.done} of {state.of}" if state.of else ""
                yield gr.skip(), gr.skip(), "\n".join(filter(None, (f"at work{parts}", state.promised)))
            if work.out is None:
                yield None, None, _nameless(work.failed, file)
            else:
                after = shown(work.out)
                before = beside(shown(Path(file)), after, request.what == "continue")
                yield (before, after), str(work.out), "\n".join(_nameless(line, file) for line in work.said)
        finally:
            work.forget()

    with gr.Blocks(title="sfumato", analytics_enabled=False, delete_cache=(3600, 3600)) as made:
        gr.Markdown("# sfumato\nFill, clean, continue or enlarge a picture. Everything happens on this machine. "
                    "What is made is a plausible guess, never evidence of what was there.")  # fmt: skip
        with gr.Row():
            with gr.Column():
                file = gr.File(label="Picture", file_types=["image"], type="filepath", height=110)
                editor = gr.ImageEditor(
                    label="Paint over what is to be made", type="numpy", sources=(), transforms=(),
                    brush=gr.Brush(default_size=24, colors=["#ff3b30"], color_mode="fixed"), layers=False,
                )  # fmt: skip
                want = gr.Radio(list(WANTS), value="Fill what I paint", label="What is wanted")
                with gr.Accordion("Settings", open=False):
                    model = gr.Dropdown(list(models), value=BEST, label="Model")
                    way = gr.Dropdown(hows, value=TRAINED, label="How a model of images restores")
                    calls = gr.Number(
                        0, label="Calls of its network, 0: its own number", precision=0, minimum=0, maximum=10_000
                    )
                    border = gr.Number(64, label="Border, pixels", precision=0, minimum=1, maximum=2000)
                    scale = gr.Radio([2, 4], value=2, label="Enlarge how many times")
                    seed = gr.Number(0, label="Seed: another one gives another answer", precision=0)
                with gr.Row():
                    start = gr.Button("Restore", variant="primary")
                    stop = gr.Button("Stop")
            with gr.Column():
                slider = gr.ImageSlider(label="Before and after", type="pil", interactive=False)
                result = gr.File(label="The restored picture, at full size", interactive=False, height=90)
                note = gr.Textbox(label="What to know of it", lines=4, interactive=False, elem_classes="sfumato-note")
        file.change(look, file, [editor, note], api_name="look")
        inputs = [file, editor, want, model, border, scale, seed, way, calls]
        running = start.click(restore, inputs, [slider, result, note], api_name="restore", concurrency_limit=1)
        stop.click(lambda: "stops after the part at hand", None, note, cancels=[running], api_name="stop")
    return made.queue(max_size=WAITING)


def serve(runs: Sequence[Path], port: int, device: str, open_browser: bool) -> None:
    """Show the page to this machine alone, until Ctrl-C; what was uploaded and made goes then.

    Raises: CapabilityError: gradio is not installed, or the port is taken.
    """
    cache = tempfile.mkdtemp(prefix="sfumato-page-")  # readable by its owner alone
    os.environ["GRADIO_TEMP_DIR"] = cache
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"  # gradio asks itself whether it is there
    gr = gradio()
    look = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # nothing from other servers
    try:
        page(runs, device).launch(
            server_name="127.0.0.1", server_port=port, max_file_size=LARGEST_FILE, share=False, inbrowser=open_browser,
            theme=look, css=STYLE, quiet=True,
        )  # fmt: skip
    except OSError as error:
        raise CapabilityError(f"cannot listen at port {port} ({error}); choose another with --port") from None
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def _nameless(line: str, file: str) -> str:
    """A message without the place where an upload lies, and with what the page calls a setting of the command line."""
    return line.replace(str(Path(file)), Path(file).name).replace("--restorer ", "under Settings, ")
