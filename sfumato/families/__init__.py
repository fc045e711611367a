"""Families: what learns, one file each, and their slots."""

from sfumato.families.base import Adam, Batch, Decodes, Denoises, Family, Objective, Player, Stage

__all__ = ["Adam", "Batch", "Decodes", "Denoises", "Family", "Objective", "Player", "Stage"]
