"""Folders of diffusers: what it saved draws the same images here, and what is written here draws the same there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, DiffusionPipeline, UNet2DModel
from safetensors.torch import load_file

from sfumato import pipelines
from sfumato.cli import main
from sfumato.data.digits import Digits
from sfumato.errors import CapabilityError, ConfigError, DataError, WeightsError
from sfumato.networks.condition import NOTHING
from sfumato.training.run import RunConfig, load, train

T = 8
TINY: dict[str, Any] = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1, "sample_size": 8}
PLAIN = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
GOOGLE = {  # the five settings of google/ddpm-cifar10-32 that make a reader silently wrong
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
    "attention_head_dim": None,
}
LINEAR = {"num_train_timesteps": T, "beta_start": 0.02, "beta_end": 0.5}


def network(**settings: Any) -> UNet2DModel:
    """With weights of some size, so that every layer matters."""
    torch.manual_seed(0)
    made = UNet2DModel(**{**TINY, **PLAIN, **settings})
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return made.eval()


CASES = {
    "google's settings": (network(**GOOGLE), DDPMScheduler(**LINEAR)),
    "large variance": (network(), DDPMScheduler(**LINEAR, variance_type="fixed_large", clip_sample=False)),
    "cosine, v": (
        network(in_channels=1, out_channels=1),
        DDPMScheduler(T, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"),
    ),
    "x0": (network(resnet_time_scale_shift="scale_shift"), DDPMScheduler(**LINEAR, prediction_type="sample")),
    "learnt variance": (network(out_channels=6), DDPMScheduler(**LINEAR, variance_type="learned_range")),
    "no signal at its end": (
        network(),
        DDPMScheduler(**LINEAR, rescale_betas_zero_snr=True, prediction_type="v_prediction"),
    ),
    "ddim": (network(), DDIMScheduler(**LINEAR, clip_sample=False, timestep_spacing="trailing")),
    "oblong": (network(sample_size=(8, 12)), DDPMScheduler(**LINEAR)),
}


def command(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


def saved(name: str, folder: Path) -> tuple[Any, Path]:
    unet, scheduler = CASES[name]
    pipeline = (DDIMPipeline if isinstance(scheduler, DDIMScheduler) else DDPMPipeline)(unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder)
    return pipeline, folder


def theirs(pipeline: Any) -> np.ndarray:
    made: np.ndarray = pipeline(3, torch.Generator().manual_seed(5), num_inference_steps=T, output_type="np").images
    return made


def ours(run: Any) -> np.ndarray:
    """Drawn from one generator, which gives each step the numbers that it gives diffusers'."""
    size = run.spec.size
    with torch.no_grad():
        x = run.family.eval().draw(3, NOTHING, size, torch.Generator().manual_seed(5))
    made: np.ndarray = ((x.clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).numpy()
    return made


@pytest.mark.parametrize("name", CASES)
def test_a_folder_draws_what_it_draws_there(name: str, tmp_path: Path) -> None:
    pipeline, folder = saved(name, tmp_path / "theirs")
    pipelines.read(folder, Digits.Config(), tmp_path / "run")
    run = load(tmp_path / "run", changes=[f"sampler.steps={T}"])
    wanted = theirs(pipeline)
    assert wanted.std() > 0.1
    np.testing.assert_allclose(ours(run), wanted, atol=2e-4)


def test_the_flat_layout(tmp_path: Path) -> None:
    """As google/ddpm-cifar10-32 has it: no model_index.json, everything beside each other."""
    pipeline, folder = saved("google's settings", tmp_path / "theirs")
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (*(folder / "unet").iterdir(), *(folder / "scheduler").iterdir()):
        path.rename(flat / path.name)
    np.testing.assert_allclose(
        ours(pipelines.read(flat, Digits.Config(), tmp_path / "run")), theirs(pipeline), atol=2e-4
    )


def test_attention_by_its_old_names(tmp_path: Path) -> None:
    pipeline, folder = saved("google's settings", tmp_path / "theirs")
    path = folder / "unet" / pipelines.WEIGHTS
    new = load_file(path)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def renamed(name: str) -> str:
        for now, before in old.items():
            name = name.replace(f".{now}.", f".{before}.")
        return name

    from safetensors.torch import save_file

    save_file({renamed(name): value for name, value in new.items()}, path, {"format": "pt"})
    assert any("proj_attn" in name for name in load_file(path))
    np.testing.assert_allclose(
        ours(pipelines.read(folder, Digits.Config(), tmp_path / "run")), theirs(pipeline), atol=2e-4
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"prediction": "eps", "schedule": {"kind": "linear", "steps": T}, "sampler": "ancestral"},
        {"prediction": "v", "sampler": {"kind": "ancestral", "variance": "beta"}},
        {"prediction": "x0", "clip": False, "sampler": {"kind": "ddim", "steps": T, "spacing": "even"}},
        {"variance": "learned", "sampler": "ancestral"},
    ],
    ids=["eps", "large", "ddim", "learned"],
)
def test_a_run_draws_there_what_it_draws_here(settings: dict[str, Any], tmp_path: Path) -> None:
    family = {"kind": "ddpm", "width": 8, "schedule": {"kind": "cosine", "steps": T}, **settings}
    family["network"] = {"kind": "unet_2d", "multipliers": (1, 2), "levels": T}
    values = {"data": "digits", "tasks": ["generation"], "family": family, "budget": {"images": 2_000, "batch": 64}}
    run = train(RunConfig.model_validate(values), tmp_path / "run")
    command(["diffusers", "export", str(tmp_path / "run"), "--out", str(tmp_path / "made")])
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "made")
    pipeline.set_progress_bar_config(disable=True)
    wanted = theirs(pipeline)
    np.testing.assert_allclose(ours(load(tmp_path / "run")), wanted, atol=5e-4)
    back = pipelines.read(tmp_path / "made", Digits.Config(), tmp_path / "back")
    again = load(tmp_path / "back", changes=[f"sampler.steps={T}"])
    assert back.spec.size == run.spec.size
    np.testing.assert_allclose(ours(again), wanted, atol=5e-4)


def test_a_folder_samples_restores_and_is_measured(tmp_path: Path) -> None:
    saved("cosine, v", tmp_path / "theirs")
    given = [str(tmp_path / "theirs"), "--data", "digits", "--out", str(tmp_path / "run")]
    command(["diffusers", "import", *given])
    run = str(tmp_path / "run")
    command(["diffusers", "import", *given])  # the same again is the same
    command(["sample", run, "-n", "4", "--out", str(tmp_path / "s.png")])
    from PIL import Image

    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(tmp_path / "p.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 2:5] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    made = tmp_path / "r.png"
    asked = ["restore", str(tmp_path / "p.png"), "--model", run, "--mask", str(tmp_path / "m.png"), "--out", str(made)]
    command([*asked, "--restorer", "ddnm"])
    there = np.asarray(Image.open(made))
    assert (there[mask == 0] == 90).all() and (there[mask == 255] != 90).any()
    command(["evaluate", run, "--metrics", "bits_per_dimension", "--test", "8", "--out", str(tmp_path / "e")])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"unet": {"time_embedding_type": "fourier"}}, ConfigError, "fourier"),
        ({"unet": {"sample_size": None}}, ConfigError, "sample_size"),
        ({"unet": {"_class_name": "UNet2DConditionModel"}}, ConfigError, "only UNet2DModel"),
        ({"unet": {"num_class_embeds": 10}}, ConfigError, "num_class_embeds"),
        ({"unet": {"nonsense": 10}}, ConfigError, "nonsense"),
        ({"unet": {"block_out_channels": (8, 8)}}, WeightsError, "does not load"),
        ({"scheduler": {"thresholding": True}}, ConfigError, "thresholding"),
        ({"scheduler": {"clip_sample_range": 2.0}}, ConfigError, "clip_sample_range"),
        ({"scheduler": {"variance_type": "learned"}}, ConfigError, "learned"),
    ],
    ids=str,
)
def test_what_has_no_like_here_is_said_in_a_line(
    change: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    _, folder = saved("google's settings", tmp_path / "theirs")
    for part, values in change.items():
        path = folder / part / ("config.json" if part == "unet" else "scheduler_config.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(error, match=message) as said:
        pipelines.read(folder, Digits.Config(), tmp_path / "run")
    assert "\n" not in str(said.value) and not (tmp_path / "run").exists()


def test_pickles_and_other_folders_are_refused(tmp_path: Path) -> None:
    _, folder = saved("google's settings", tmp_path / "theirs")
    (folder / "unet" / pipelines.WEIGHTS).rename(folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(WeightsError, match="pickle"):
        pipelines.read(folder, Digits.Config(), tmp_path / "run")
    with pytest.raises(DataError, match="model_index"):
        pipelines.read(tmp_path, Digits.Config(), tmp_path / "run")


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ({"kind": "ddpm", "width": 4}, "unet_2d"),
        ({"kind": "edm", "width": 4, "network": "unet_2d", "prediction": "x0"}, "grid"),
        ({"kind": "ncsn", "width": 4, "network": "unet_2d", "schedule": "cosine", "labels": True}, "no class"),
        ({"kind": "flow_matching", "width": 4, "network": "unet_2d", "schedule": "cosine"}, "direction"),
        ({"kind": "gaussian"}, "unet_2d"),
    ],
    ids=str,
)
def test_what_a_folder_cannot_say_is_not_written(family: dict[str, Any], message: str, tmp_path: Path) -> None:
    from sfumato.families.base import Family
    from sfumato.kinds import parse
    from sfumato.training.ledger import Ledger
    from sfumato.training.run import Run, make_family

    spec = Digits(Digits.Config()).load().spec
    config: Any = parse(Family, family)
    run = Run(
        RunConfig(data="digits", tasks=["generation"], family=config), Ledger(), make_family(config, spec, 0), spec
    )
    with pytest.raises(CapabilityError, match=message):
        pipelines.write(run, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_level_is_told_as_the_step_before_it() -> None:
    run_of: Any = pipelines.family_of(
        {"sample_size": 8, **TINY, **PLAIN}, {"_class_name": "DDPMScheduler", **LINEAR}, "here"
    )
    from sfumato.training.run import make_family

    family: Any = make_family(run_of[0], run_of[1], 0)
    seen = []

    class Notes(torch.nn.Module):
        def forward(self, x: Any, step: Any, class_labels: Any) -> Any:
            seen.append(step)
            return type("Said", (), {"sample": x})

    family.network.net = Notes()
    times = (torch.arange(1, T + 1).double() / T).float()
    family.network(torch.zeros(T, 3, 8, 8), times, NOTHING)
    torch.testing.assert_close(seen[0], torch.arange(T).float(), atol=1e-5, rtol=0)
    family.network(torch.zeros(1, 3, 8, 8), torch.tensor([1.5 / T]), NOTHING)
    assert float(seen[1][0]) == pytest.approx(0.5, abs=1e-5), "and between levels between"
