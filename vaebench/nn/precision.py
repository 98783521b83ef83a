"""In which precision matrix products and convolutions are computed.

All else stays as the parameters are.
"""

from __future__ import annotations

import torch


def is_half(device: torch.device) -> bool:
    """Whether products are computed in bfloat16 here: a layer that chooses for itself asks."""
    return torch.is_autocast_enabled(device.type)


def products_in(precision: str, device: torch.device) -> torch.autocast:
    """A context in which products are computed in ``precision``, ``float32`` or ``bfloat16``.

    In bfloat16 what a product is given is rounded to eight binary digits, and so is what it gives;
    its sums are float32. A layer that must not be rounded so says so itself, as the last ones of
    ``nn.image_decoder`` do.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
