"""Samplers: schedules, spacings and walks, given a denoiser."""

from sfumato.samplers.base import Sampler
from sfumato.samplers.denoiser import Denoised, Denoiser
from sfumato.samplers.schedules import Schedule
from sfumato.samplers.spacings import Spacing

__all__ = ["Denoised", "Denoiser", "Sampler", "Schedule", "Spacing"]
