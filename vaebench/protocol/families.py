"""Facts about model families, readable without torch."""

from __future__ import annotations

UNNORMALISED: dict[str, tuple[str, ...]] = {
    "rbm_vae": ("prior",),
    "rbm_vae_gaussian": ("prior",),
    "rbm_generator": ("prior",),
    "rbm_posterior": ("prior", "posterior"),
}
"""Models of whose densities a Boltzmann machine's log Z is missing: how it is found is then part of the protocol.

As the models themselves say (``unnormalised``), but readable without torch.
"""


ENCODED = ("text_vae",)
"""Models that encode a case as a Gaussian, of which means and the KL are known without samples."""


EXACT = ("text_lm",)
"""Models without latents: the likelihood is exact, and there is no bound."""


CONTINUOUS = ("linear_gaussian",)
"""Models that have a density for a case, whatever the data: its logarithm may be positive."""
