"""Folders of diffusers: a UNet2DModel with its scheduler becomes a run that samples, restores and is measured here, and back.

Both layouts are read: `model_index.json` with `unet/` and `scheduler/`, and the flat one of google/ddpm-cifar10-32. Only
safetensors are: a pickle can run anything.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sfumato import config as settings
from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import CapabilityError, ConfigError, DataError, WeightsError, shortened
from sfumato.families.ddpm import DDPM
from sfumato.families.diffusers_unet import Indexed, library
from sfumato.families.diffusion import Diffusion
from sfumato.files import write_atomic
from sfumato.samplers.ancestral import Ancestral
from sfumato.training import checkpoint
from sfumato.training.averages import deployed_state
from sfumato.training.claims import claim, held
from sfumato.training.ledger import Ledger
from sfumato.training.run import Run, RunConfig, make_family

WEIGHTS = "diffusion_pytorch_model.safetensors"
PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
SAMPLERS: dict[str, dict[str, Any]] = {
    "DDPMScheduler": {"kind": "ancestral"},
    "DDIMScheduler": {"kind": "ddim", "steps": 50, "spacing": "even"},
    "DPMSolverMultistepScheduler": {"kind": "dpm_solver_pp", "steps": 20},
    "UniPCMultistepScheduler": {"kind": "unipc", "steps": 10},
    "HeunDiscreteScheduler": {"kind": "heun", "steps": 18},
}
ONE = 1 - 1e-7  # the largest beta; one of 1, of schedules that end in noise alone, leaves nothing to divide by


def read(folder: Path, data: Strict, out: Path) -> Run:
    """Read a folder that diffusers saved as a finished run in `out`; `data` is what it is measured against.

    Raises: DataError: no such folder. WeightsError: no safetensors, or others than it says. ConfigError: what has no like here.
    """
    unet, scheduler = parts_of(folder)
    config = settings.read(unet / "config.json")
    noise = settings.read(scheduler / "scheduler_config.json")
    family, spec = family_of(config, noise, str(folder))
    if not (unet / WEIGHTS).is_file():
        others = ", ".join(sorted(path.name for path in unet.glob("*.bin"))) or "no weights"
        raise WeightsError(
            f"{unet} has no {WEIGHTS} but {others}; save it with safe_serialization=True, since a pickle can run anything"
        )
    made = make_family(family, spec, 0)
    network: Any = made.network
    try:
        trained = library().UNet2DModel.from_pretrained(
            unet, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{unet} does not load as a UNet2DModel: {shortened(str(error))}") from None
    network.net.load_state_dict(trained.state_dict())
    run = Run(RunConfig(data=data, tasks=["generation"], family=family), Ledger(), made.eval(), spec)
    with held(out):
        claim(out, run.config)
        checkpoint.save_tensors(deployed_state(made), out / "model.safetensors")
        write_atomic(out / "spec.json", spec.to_json())
        write_atomic(out / "card.md", card(folder, config, noise, run))
        write_atomic(out / "ledger.json", run.ledger.to_json())
    return run


def parts_of(folder: Path) -> tuple[Path, Path]:
    """Where the network and the scheduler of a folder are.

    Raises: DataError: there are none. ConfigError: the network is another than a UNet2DModel.
    """
    if (folder / "model_index.json").is_file():
        unet, scheduler = folder / "unet", folder / "scheduler"
    else:
        unet = scheduler = folder
    for path in (unet / "config.json", scheduler / "scheduler_config.json"):
        if not path.is_file():
            raise DataError(
                f"{folder} is no folder of a diffusion that diffusers saved: {path.relative_to(folder)} is missing; give "
                "one with model_index.json, unet/ and scheduler/, or with config.json and scheduler_config.json"
            )
    if (kind := settings.read(unet / "config.json").get("_class_name", "UNet2DModel")) != "UNet2DModel":
        raise ConfigError(f"{folder} holds a {shortened(str(kind))}; only UNet2DModel is read")
    return unet, scheduler


def family_of(config: Mapping[str, Any], noise: Mapping[str, Any], where: str) -> tuple[Any, DataSpec]:
    """The settings of the family that a folder's two files mean, and what it draws.

    Raises: ConfigError: no size, or a setting that has no like here.
    """
    size = config.get("sample_size")
    if size is None:
        raise ConfigError(f"{where}: config.json names no sample_size; write the side of its images into it")
    scheduler = library().DDPMScheduler.from_config(dict(noise))
    told = scheduler.config
    refused = {
        "time_embedding_type": config.get("time_embedding_type", "positional") == "fourier",
        "class_embed_type": bool(config.get("class_embed_type")),
        "num_class_embeds": bool(config.get("num_class_embeds")),
        "thresholding": bool(told.thresholding),
        "clip_sample_range": bool(told.clip_sample) and float(told.clip_sample_range) != 1.0,
        "variance_type": told.variance_type == "learned",
        "prediction_type": told.prediction_type not in PREDICTIONS,
    }
    for name, wrong in refused.items():
        if wrong:
            value = config.get(name, noise.get(name))
            raise ConfigError(f"{where}: {name} = {shortened(str(value))} has no like here, so it cannot be read")
    betas = [min(beta, ONE) for beta in scheduler.betas.double().tolist()]
    ours = {key: value for key, value in config.items() if not key.startswith("_")}
    sampler = dict(SAMPLERS.get(str(noise.get("_class_name")), SAMPLERS["DDIMScheduler"]))
    if sampler["kind"] == "ancestral" and told.variance_type.startswith("fixed_large"):
        sampler["variance"] = "beta"
    network = {"kind": "unet_2d", "levels": len(betas), "settings": ours}
    family = DDPM.Config.model_validate(
        {
            "network": network,
            "schedule": {"kind": "betas", "betas": betas},
            "prediction": PREDICTIONS[told.prediction_type],
            "variance": "learned" if told.variance_type == "learned_range" else "fixed",
            "clip": bool(told.clip_sample),
            "sampler": sampler,
        }
    )
    return family, DataSpec(channels=int(config.get("in_channels", 3)), size=size)


def card(folder: Path, config: Mapping[str, Any], noise: Mapping[str, Any], run: Run) -> str:
    """What the run's card says: where it is from, and the card that came with it."""
    there = folder / "README.md"
    theirs = (
        there.read_text(errors="replace")
        if there.is_file()
        else "It came without a card: its data and licence are not known here."
    )
    version = config.get("_diffusers_version", "unknown")
    return f"""# {run.config.family.kind}, read from a folder of diffusers

- From `{folder.name}`: UNet2DModel and {noise.get("_class_name", "a scheduler")}, diffusers {version}
- {run.spec.channels} x {run.spec.size[0]} x {run.spec.size[1]}, measured against `{run.config.data.kind}`; not trained here
- A restored pixel is a plausible guess, never evidence of what was there.

What came with it:

{theirs}
"""


def write(run: Run, out: Path) -> None:
    """Write a run as a folder that diffusers loads and draws from.

    Raises: CapabilityError: what diffusers cannot say: another network, a condition, labels, or a schedule without a grid.
    ConfigError: `out` is there already.
    """
    family = run.family
    if not isinstance(family, Diffusion) or not isinstance(family.network, Indexed):
        raise CapabilityError(
            "only a diffusion whose network is diffusers' own fits into its folder; train one with "
            "--set family.network=unet_2d"
        )
    if run.spec.condition or family.labelled or family.schedule.grid is None:
        raise CapabilityError(
            "diffusers draws from no condition, no class and no schedule without a grid in this folder"
        )
    named = {ours: theirs for theirs, ours in PREDICTIONS.items()}.get(family.config.prediction.kind)
    if named is None:
        raise CapabilityError(f"diffusers knows no prediction {family.config.prediction.kind!r}; eps, x0 and v it does")
    if out.exists():
        raise ConfigError(f"{out} is there already; choose another --out")
    kit = library()
    ancestral = isinstance(family.sampler, Ancestral)
    beta = ancestral and family.config.sampler.variance == "beta"
    told = {
        "num_train_timesteps": family.schedule.grid,
        "trained_betas": betas_of(family),
        "prediction_type": named,
        "clip_sample": family.config.clip,
        "timestep_spacing": "trailing",
    }
    variance = "learned_range" if family.learns_variance else "fixed_large" if beta else "fixed_small"
    if ancestral or family.learns_variance:
        pipeline = kit.DDPMPipeline(family.network.net, kit.DDPMScheduler(**told, variance_type=variance))
    else:
        pipeline = kit.DDIMPipeline(family.network.net, kit.DDIMScheduler(**told))
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        pipeline.save_pretrained(temporary, safe_serialization=True)
        about = {"made by": "sfumato", "settings": json.loads(run.config.to_json())}
        (temporary / "sfumato.json").write_text(json.dumps(about, indent=2) + "\n")
        temporary.rename(out)
    except OSError as error:
        raise DataError(f"cannot write {out}: {error}; free some space or choose another folder") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def betas_of(family: Diffusion) -> list[float]:
    """1 - alpha_bar_k / alpha_bar_(k - 1): exact, whatever the schedule is called."""
    squared = family.schedule.alpha(family.schedule.places()) ** 2
    return (1 - squared[1:] / squared[:-1]).tolist()
