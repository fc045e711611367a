"""Segmenters: which pixels of a picture are to be removed."""
