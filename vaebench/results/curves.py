"""What stands in ``curve.csv``, beside its numbers."""

from __future__ import annotations

BOUNDS = ("train_bound", "valid_bound")
"""Columns of curves that are bounds: positive nats, lower is better. Version 1 kept them with the
opposite sign."""

UNIT = "nats"
"""What stands in the column ``unit`` of ``curve.csv``; version 1 has no such column."""
