"""Mutated inputs by the thousand: `pytest -m slow tests/fuzz`."""
