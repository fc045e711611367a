"""Tasks: generation, inpainting, outpainting, super-resolution."""

from sfumato.tasks.base import Observation, Operator, Region, Task

__all__ = ["Observation", "Operator", "Region", "Task"]
