"""Checks of estimators on documents against exact answers.

The exact answers are sums over every short document, and quadrature over a scalar z.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaebench.check.line import Line, mean_line
from vaebench.check.tiny import built, of_kind
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.data.text.specials import END, START
from vaebench.estimators.aggregate import aggregate_kl
from vaebench.estimators.importance_weighted import importance
from vaebench.estimators.mutual_information import batchwise, whole_set
from vaebench.estimators.posterior_mean import posterior_mean
from vaebench.estimators.posteriors import posteriors
from vaebench.estimators.weights import stream
from vaebench.models.base import Model
from vaebench.models.text_lm import TextLM
from vaebench.models.text_vae import TextVAE

ENTRIES = 6
"""Entries of the vocabulary, with the four special ones."""

WORDS = (1, 3, 4, 5)
"""Entries that may stand within a document: all but padding and end. A language model gives
probability to ``<s>`` and ``<unk>`` there too."""

DRAWS = 40_000
"""Independent samples behind an estimate."""

X = torch.tensor([[1, 4, 5, 2, 0], [1, 5, 5, 5, 2], [1, 4, 2, 0, 0], [1, 4, 5, 5, 2]])
"""Four documents, padded."""


def lines(device: str | torch.device = "cpu") -> Iterator[Line]:
    """Yield all lines; this takes some seconds."""
    x = X.to(device)
    by_word, together = _sums(
        of_kind(TextLM, _tiny({"name": "text_lm", **TextLM.tiny["LSTM-LM"]}, device))
    )
    yield Line("LSTM-LM: sum of p(x), up to 3 words", by_word, together, 0.0)

    model = of_kind(TextVAE, _tiny({"name": "text_vae", **TextVAE.tiny["text VAE"]}, device))

    # The latent is a scalar, so quadrature over a grid with steps of 0.005 is exact enough.
    grid = torch.arange(-8, 8, 0.005, dtype=torch.float64, device=device)
    log_p, mean, sd = _on_grid(model, x, grid)

    # One example many times: its samples are independent draws.
    repeated = x[:1].expand(DRAWS // 10, -1)
    fewer = x[:1].expand(200, -1)

    q = torch.distributions.Normal(mean[0], sd[0]).log_prob(grid)
    bound = float((q.exp() * (log_p[:, 0] - q)).sum() * 0.005)
    evidence = float(torch.logsumexp(log_p[:, 0], 0) + np.log(0.005))

    log_w = torch.cat([part.log_w.reshape(-1) for part in stream(model, repeated, 10, 0)])
    yield mean_line("text VAE: one-sample bound", bound, log_w)
    iw = importance(model, fewer, 1000, 0)
    yield Line("text VAE: IW-NLL, 1,000 samples", -evidence, iw.nll, iw.error)

    # softmax over the grid is p(z | x) times the step.
    middle = float((torch.softmax(log_p[:, 0], 0) * grid).sum())
    yield Line("text VAE: posterior mean", middle, float(posterior_mean(model, x)[0]), 0.0)
    yield from _information(model, x, mean, sd, grid)


def _information(
    model: TextVAE, x: Tensor, mean: Tensor, sd: Tensor, grid: Tensor
) -> Iterator[Line]:
    """Check mutual information and the KL of the aggregate posterior.

    The four documents are repeated many times, so their mixture is that of the four.
    """
    # log q(z | x_n), (documents, points), and of their mixture q(z), (points,). The mutual
    # information is the mean over n of KL(q(z | x_n) || q(z)).
    log_q = torch.distributions.Normal(mean[:, None], sd[:, None]).log_prob(grid)
    log_mixture = torch.logsumexp(log_q, 0) - np.log(len(x))
    log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(grid)
    mi = float((log_q.exp() * (log_q - log_mixture)).sum(1).mean() * 0.005)
    kl = float((log_mixture.exp() * (log_mixture - log_prior)).sum() * 0.005)

    all_posteriors = posteriors(model, x.repeat(DRAWS // 40, 1), 0)
    estimate = whole_set(all_posteriors)
    kl_estimate = aggregate_kl(all_posteriors)
    yield Line("text VAE: mutual information, whole set", mi, estimate.value, estimate.error)
    yield Line("text VAE: KL(q(z) || p(z))", kl, kl_estimate.value, kl_estimate.error)

    # A batch with each of the four documents once has their exact mixture.
    batches = list(torch.arange(len(all_posteriors)).split(len(x)))
    estimate = batchwise(all_posteriors, batches)
    yield Line("text VAE: mutual information, batches", mi, estimate.value, estimate.error)


def _tiny(config: dict[str, Any], device: str | torch.device) -> Model:
    info = DataInfo(np.full(ENTRIES, 1 / ENTRIES), Kind.TOKENS)
    return built(config, info, 9, 1.6, device).requires_grad_(False)


def _sums(model: TextLM, longest: int = 3) -> tuple[float, float]:
    """Return the sum of p(x) over all documents of up to ``longest`` words, found in two ways.

    The first goes word after word; the second takes all documents, padded, in one batch.
    """
    device = model.mean.device
    by_word = 0.0
    rows = []
    for length in range(longest + 1):
        words = list(itertools.product(WORDS, repeat=length))
        x = torch.tensor([[START, *w, END] for w in words], device=device)

        # Predict each word from those before it, and then the end. The padded batch below must
        # give the same sum.
        state = model.p.first_state(len(x), None)
        log_p = torch.zeros(len(x), dtype=torch.float64, device=device)
        for t in range(length + 1):
            log_p_next, state = model.p.next_word(x[:, t], None, state)
            log_p += log_p_next.gather(1, x[:, t + 1, None])[:, 0]

        by_word += float(log_p.exp().sum())
        rows.append(torch.nn.functional.pad(x, (0, longest - length)))
    return by_word, float(model.log_evidence(torch.cat(rows)).exp().sum())


def _on_grid(model: TextVAE, x: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return log p(x, z) at the grid, and the posteriors.

    Shapes: log p (points, documents); mean and standard deviation of q(z | x), (documents,) each.
    """
    z = grid[:, None, None].expand(-1, len(x), 1)
    mean, log_var = model.encode(x)
    return model.log_joint(x, [z]), mean[:, 0], torch.exp(log_var[:, 0] / 2)
