"""Names and words of ``curve.csv``."""

from __future__ import annotations

BOUNDS = ("train_bound", "valid_bound")
"""Columns of curves that are bounds: positive nats, lower is better. In version 1 their sign was
opposite."""

UNIT = "nats"
"""Content of the column ``unit`` of ``curve.csv``; version 1 has no such column."""
