"""Samplers: functions of a denoiser and a schedule."""

from sfumato.samplers.base import Denoise, Sampler

__all__ = ["Denoise", "Sampler"]
