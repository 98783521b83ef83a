"""Changes that make a tiny cell one of an image VAE, for the ``make_config`` and ``make_cell`` of
``kit.cells``."""

from __future__ import annotations

IMAGES = {
    "model": {
        "name": "image_vae", "latents": 2, "channels": 4, "kernels": [3, 3],
        "encoder_channels": [3], "features": 4,
        "init": "glorot", "init_scale": 0.1,
    },
    "objective": {"name": "vae"},
    "optim": {"name": "clipped_adam", "rate": 1e-2},
}  # fmt: skip
HALF = {**IMAGES, "train.precision": "bfloat16", "train.updates": 20, "train.valid_every": 8}
"""The same with products of bfloat16."""

REFINED = {
    "name": "semi_amortised",
    "svi_steps": 2,
    "svi_rate": 1.0,
    "svi_momentum": 0.5,
    "svi_clip": 5.0,
}
"""An objective that refines the encoder's posterior."""
