"""The precision of matrix products and convolutions.

All other operations have the precision of the parameters.
"""

from __future__ import annotations

import torch


def is_half(device: torch.device) -> bool:
    """Whether products are in bfloat16 here, for layers that choose their precision themselves."""
    return torch.is_autocast_enabled(device.type)


def products_in(precision: str, device: torch.device) -> torch.autocast:
    """Return a context in which products have the ``precision`` ``float32`` or ``bfloat16``.

    In bfloat16 the inputs and the result of a product are rounded to eight binary digits; its sums
    are float32. A layer that must not be rounded so says so itself, as the last ones of
    ``nn.image_decoder`` do.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
