"""How quantities are written for people, the same everywhere."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """``4.2 s``, ``42 s``, ``3.5 min`` or ``2.1 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def shortened(text: str, most: int = 60) -> str:
    """The text, cut where it is longer than ``most`` characters."""
    return text if len(text) <= most else f"{text[:most]}..."
