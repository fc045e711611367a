"""Latent vectors looked at: what lies between two, what they add up to, which one an image would have come from."""
