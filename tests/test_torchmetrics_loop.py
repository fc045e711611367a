"""A training loop of another library that logs our metrics."""

import copy
import pickle

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from sfumato.images import to_unit
from sfumato.torchmetrics import FrechetDistance, KernelDistance

from .test_torchmetrics import REAL, Tiny, fed, same


class Model(nn.Module):
    """As in Lightning: metrics are attributes, validation runs in inference mode, and the model moves between precisions."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Conv2d(3, 3, 1)
        self.quality = MetricCollection([cls(Tiny(), normalize=True) for cls in (FrechetDistance, KernelDistance)])

    def validation_step(self, batch: Tensor) -> None:
        self.quality.update(batch, real=True)
        self.quality.update(self.network(batch.half()).float().clamp(0, 1), real=False)


def test_a_loop_like_lightning_s() -> None:
    model, batches = Model().half(), to_unit(REAL).split(30)
    model.network.weight.data = torch.eye(3).half()[:, :, None, None]
    model.network.bias.data.zero_()

    @torch.inference_mode()
    def epoch() -> dict[str, Tensor]:
        for batch in batches:
            model.validation_step(batch)
        answer: dict[str, Tensor] = model.quality.compute()
        model.quality.reset()
        return answer

    first, second = epoch(), epoch()
    assert first["FrechetDistance"] == second["FrechetDistance"] and float(first["FrechetDistance"]) < 1e-9
    model.network.weight.data *= 0.5
    third = epoch()
    made = torch.cat([model.network(batch.half()).float().detach() for batch in batches])
    expected = fed(FrechetDistance(Tiny(), normalize=True), made, torch.cat(batches)).compute()
    assert same(third["FrechetDistance"], expected, 1e-9) and float(expected) > 1e-3
    assert set(model.state_dict()) == {"network.weight", "network.bias"}
    with torch.inference_mode():
        model.validation_step(batches[0])
    kept = pickle.loads(pickle.dumps(copy.deepcopy(model)))  # vectors of inference mode can be copied and added to
    kept.quality.update(batches[1], real=True)
    assert kept.quality["KernelDistance"].side("real").shape == (60, 12)
