"""What sort of a model it is, by what it offers: for measures and generation, which take whatever has it."""

from __future__ import annotations

from torch import nn


def gaussian_posterior(model: nn.Module) -> bool:
    """Whether q(z | x) is a diagonal Gaussian over one layer, and p(z) = N(0, I).

    ``encode(x)`` gives its mean and log-variance, which ``sample_posterior`` and ``log_posterior_terms`` then take as
    ``seen``.
    """
    return getattr(model, "latent", None) == "gaussian" and hasattr(model, "encode")


def latent(model: nn.Module) -> bool:
    """Whether there are latents at all: a language model alone has none, and an exact NLL in the place of a bound."""
    return hasattr(model, "sample_posterior") or "posterior" in model.unnormalised


def reads_documents(model: nn.Module | type[nn.Module]) -> bool:
    """Whether the cases of a model, or of a class of them, are documents: tokens, filled up with 0 (``tokens``)."""
    return getattr(model, "tokens", False)
