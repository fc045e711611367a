"""Families: what learns, one file each, and their slots."""

from sfumato.families.abilities import Decodes, Denoises, Likelihood
from sfumato.families.base import Batch, Family, Group, Objective, Player, Stage

__all__ = ["Batch", "Decodes", "Denoises", "Family", "Group", "Likelihood", "Objective", "Player", "Stage"]
