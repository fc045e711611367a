"""DINOv2 features: a vision transformer trained without labels, whose distances agree with people's judgement of photographs.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision" (2023, arXiv:2304.07193). Stein et al., "Exposing
flaws of generative model evaluation metrics" (2023, arXiv:2306.04675) found its Frechet distance nearer to people than FID.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.errors import CapabilityError, WeightsError
from sfumato.features.base import Features
from sfumato.features.identity import digest_of_file
from sfumato.features.weights import rgb
from sfumato.files import at_home
from sfumato.images import PEAK, Pixels
from sfumato.maths.precision import full_precision

FILE = "model.safetensors"
PATCH = 14  # rows and columns of a patch
SIDE = 224  # rows and columns of what the network sees
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels, red, green, blue

Tokens = Float[Tensor, "B N D"]


class Shape(NamedTuple):
    """What tells the published networks apart."""

    width: int
    depth: int
    heads: int
    gated: bool = False
    grid: int = 37  # rows and columns of the learned position embeddings: 518 / 14


SHAPES = {
    "small": Shape(384, 12, 6),
    "base": Shape(768, 12, 12),
    "large": Shape(1024, 24, 16),
    "giant": Shape(1536, 40, 24, gated=True),
}


class Attention(nn.Module):
    """softmax(q k' / sqrt(d)) v, each head on d = D / heads numbers of its own; names of the weight file."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")})
        self.output = nn.ModuleDict({"dense": nn.Linear(width, width)})

    def forward(self, x: Tokens) -> Tokens:
        q, k, v = (linear(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for linear in self.attention.values())
        return self.output["dense"](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """fc2(gelu(fc1(x))) with four times the width between, and the exact GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tokens) -> Tokens:
        return self.fc2(F.gelu(self.fc1(x)))


class Gated(nn.Module):
    """out(silu(a) b) with (a, b) = in(x), each 8/3 of the width, rounded up to a multiple of 8 (Shazeer, 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = (8 * width // 3 + 7) // 8 * 8
        self.weights_in, self.weights_out = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width)

    def forward(self, x: Tokens) -> Tokens:
        gate, value = self.weights_in(x).chunk(2, dim=2)
        return self.weights_out(F.silu(gate) * value)


class Scale(nn.Module):
    """One learned factor a channel (LayerScale)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.ones(width))

    def forward(self, x: Tokens) -> Tokens:
        return x * self.lambda1


class Block(nn.Module):
    """x + s1 attention(norm1(x)), then x + s2 mlp(norm2(x)); names of the weight file."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(shape.width, eps=1e-6), nn.LayerNorm(shape.width, eps=1e-6)
        self.attention = Attention(shape.width, shape.heads)
        self.mlp = Gated(shape.width) if shape.gated else Perceptron(shape.width)
        self.layer_scale1, self.layer_scale2 = Scale(shape.width), Scale(shape.width)

    def forward(self, x: Tokens) -> Tokens:
        x = x + self.layer_scale1(self.attention(self.norm1(x)))
        return x + self.layer_scale2(self.mlp(self.norm2(x)))


class Embeddings(nn.Module):
    """One token a patch, a class token before them, and a learned position added to each; names of the weight file."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.grid = shape.grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + shape.grid**2, shape.width))
        self.patch_embeddings = nn.ModuleDict({"projection": nn.Conv2d(3, shape.width, PATCH, PATCH)})

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> Tokens:
        maps = self.patch_embeddings["projection"](x)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), maps.flatten(2).transpose(1, 2)], dim=1)
        return tokens + self.positions(*maps.shape[2:])

    def positions(self, rows: int, columns: int) -> Tokens:
        """The class token's own, then the grid's, bicubic to the rows and columns of patches where these are others."""
        if rows == columns == self.grid:
            return self.position_embeddings
        own, learned = self.position_embeddings[:, :1], self.position_embeddings[:, 1:]
        maps = learned.unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)
        # The published code adds a tenth of a patch, which moves the places where the embeddings are read and so every
        # vector a little; figures in the literature were computed so
        scale = [(n + 0.1) / self.grid for n in (rows, columns)]
        maps = F.interpolate(maps, scale_factor=scale, mode="bicubic")
        return torch.cat([own, maps.flatten(2).transpose(1, 2)], dim=1)


class VisionTransformer(nn.Module):
    """[B, 3, H, W] to the class token after the last normalisation, [B, D]; H and W are multiples of 14.

    Attribute names are those of the weight file.

    Example:
        >>> with torch.device("meta"):
        ...     VisionTransformer(SHAPES["small"])(torch.zeros(2, 3, 224, 224)).shape
        torch.Size([2, 384])
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embeddings = Embeddings(shape)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Block(shape) for _ in range(shape.depth))})
        self.layernorm = nn.LayerNorm(shape.width, eps=1e-6)

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        x = self.embeddings(x)
        for block in self.encoder["layer"].children():
            x = block(x)
        return self.layernorm(x[:, 0])


class Dinov2(Features):
    """The class token of DINOv2: uint8 [B, 1 or 3, H, W] to float32 [B, 384, 768, 1024 or 1536].

    Images are resized to 224 x 224 with Pillow's antialiased bicubic filter, rounded to whole levels as there, repeated
    to three channels where they are grey, and normalised with ImageNet's mean and deviation: all as in dgm-eval, whose
    FD-DINOv2 is the Frechet distance on the large network. Always float32; about 80 billion multiplications an image for
    the large one, 6 for the small.

    The weights are `path`, or are fetched once (1.2 GB for large) into the Hugging Face cache. Only safetensors is read.

    Raises: WeightsError: no file and no network, another digest than `sha256`, or tensors of another network.
    CapabilityError: no `path`, and the extra `sfumato[hub]` is missing. ShapeError: see `weights.rgb`.
    References: Oquab et al. (2023), DINOv2: learning robust visual features without supervision; Stein et al. (2023),
    Exposing flaws of generative model evaluation metrics and their unfair treatment of diffusion models.

    Example (needs the weights)::

        features = Dinov2(Dinov2.Config(size="small"), device="cuda")
        vectors = features(pixels)  # [N, 384]
    """

    class Config(Strict):
        """Which network, with which weights."""

        kind: Literal["dinov2"] = "dinov2"
        size: Literal["small", "base", "large", "giant"] = "large"
        """384, 768, 1024 or 1536 numbers; figures of the literature are on large."""
        path: Path | None = None
        """The file model.safetensors of facebook/dinov2-<size>; without this it is fetched from huggingface.co."""
        sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
        """Refuse a weight file with another SHA-256; cards show that of the file used."""

    def __init__(self, config: Dinov2.Config, device: torch.device | str = "cpu") -> None:
        self.config, self.device = config, torch.device(device)
        self.dim = SHAPES[config.size].width
        self.tag = "dinov2" if config.size == "large" else f"dinov2-{config.size}"
        self.resize = "antialiased bicubic to 224, whole levels, then ImageNet's mean and deviation"
        self.at_once = 8 if self.device.type == "cpu" else 64
        path = at_home(config.path or fetched(config.size))
        self.network, self.digest = load_network(path, SHAPES[config.size], bring(config.size), config.sha256)
        self.network.to(self.device)

    def extract(self, pixels: Pixels) -> Float[Tensor, "B D"]:
        with full_precision(self.device):
            return self.network(self.prepare(pixels)).to(pixels.device)

    def prepare(self, pixels: Pixels) -> Float[Tensor, "B 3 224 224"]:
        """What the network sees, about -2.1 to 2.6."""
        x = rgb(pixels.to(self.device))
        for shape in ((x.shape[2], SIDE), (SIDE, SIDE)):  # columns, then rows, each to whole levels: as Pillow did
            if x.shape[2:] != shape:
                x = F.interpolate(x, shape, mode="bicubic", antialias=True).round().clamp(0, PEAK)
        mean, std = (torch.tensor(numbers, device=x.device).view(3, 1, 1) for numbers in (MEAN, STD))
        return (x / PEAK - mean) / std


def bring(size: str) -> str:
    """What to do about a missing or wrong weight file."""
    return f"bring {FILE} of huggingface.co/facebook/dinov2-{size} and set features.path to it"


def load_network(path: Path, shape: Shape, bring: str, sha256: str | None) -> tuple[VisionTransformer, str]:
    """The network with a file's weights, fixed and ready to use, and the file's SHA-256.

    Raises: WeightsError: no such file, not safetensors, another digest, or tensors that are not those of this network.
    """
    try:
        digest, state = digest_of_file(path), load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error}); {bring}") from None
    except OSError as error:
        raise WeightsError(f"no weights at {path} ({error.strerror or error}); {bring}") from None
    if sha256 not in (None, digest):
        raise WeightsError(f"{path} has SHA-256 {digest[:8]}..., not {str(sha256)[:8]}...; {bring}")
    state.pop("embeddings.mask_token", None)  # which only training needs
    with torch.device("meta"):  # no time spent on weights that are replaced, and no random numbers drawn
        network = VisionTransformer(shape)
    needed = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    wrong = sorted(key for key in needed.keys() | given.keys() if needed.get(key) != given.get(key))
    if wrong:
        first = f"{wrong[0]} is {given.get(wrong[0], 'missing')}, not {needed.get(wrong[0], 'expected')}"
        raise WeightsError(f"{path}: {len(wrong)} tensors are not those of this network, the first: {first}; {bring}")
    network.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
    return network.eval().requires_grad_(False), digest


def fetched(size: str) -> Path:
    """The weight file in the Hugging Face cache, downloaded the first time.

    Raises: CapabilityError: huggingface_hub is not installed. WeightsError: no network, or the repository is closed.
    """
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError:
        raise CapabilityError(f"to fetch DINOv2, pip install 'sfumato[hub]'; or {bring(size)}") from None
    try:
        return Path(hub.hf_hub_download(f"facebook/dinov2-{size}", FILE))
    except (OSError, ValueError) as error:  # the hub's errors are all of the one or the other
        raise WeightsError(f"cannot fetch DINOv2 ({type(error).__name__}); {bring(size)}") from None
