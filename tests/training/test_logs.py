"""TensorBoard logs hold the losses that the trainer reported, at the images they belong to."""

import sys

import pytest

from sfumato.errors import CapabilityError
from sfumato.training.ledger import Ledger
from sfumato.training.logs import tensorboard


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_losses_are_written_and_passed_on(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen = []
    watch = tensorboard(tmp_path, lambda ledger, terms: seen.append((ledger.images, dict(terms))))
    watch(Ledger(images=64, seconds=2.0), {"critic.real": -1.5})
    watch(Ledger(images=128, seconds=4.0), {"critic.real": -2.5})
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("critic/real")] == [(64, -1.5), (128, -2.5)]
    assert [event.value for event in events.Scalars("images_per_second")] == [32.0, 32.0]
    assert seen == [(64, {"critic.real": -1.5}), (128, {"critic.real": -2.5})]


def test_without_tensorboard_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(CapabilityError, match=r"sfumato\[tensorboard\]"):
        tensorboard(tmp_path)
