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
WORDS = (1, 3, 4, 5)
DRAWS = 40_000
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
    grid = torch.arange(-8, 8, 0.005, dtype=torch.float64, device=device)
    log_p, mean, sd = _on_grid(model, x, grid)

    one = x[:1].expand(DRAWS // 10, -1)
    many = x[:1].expand(200, -1)
    q = torch.distributions.Normal(mean[0], sd[0]).log_prob(grid)
    bound = float((q.exp() * (log_p[:, 0] - q)).sum() * 0.005)
    evidence = float(torch.logsumexp(log_p[:, 0], 0) + np.log(0.005))

    log_w = torch.cat([part.log_w.reshape(-1) for part in stream(model, one, 10, 0)])
    yield mean_line("text VAE: one-sample bound", bound, log_w)
    iw = importance(model, many, 1000, 0)
    yield Line("text VAE: IW-NLL, 1,000 samples", -evidence, iw.nll, iw.error)

    middle = float((torch.softmax(log_p[:, 0], 0) * grid).sum())
    yield Line("text VAE: posterior mean", middle, float(posterior_mean(model, x)[0]), 0.0)
    yield from _information(model, x, mean, sd, grid)


def _information(
    model: TextVAE, x: Tensor, mean: Tensor, sd: Tensor, grid: Tensor
) -> Iterator[Line]:
    """Check mutual information and the KL of the aggregate posterior.

    The four documents are repeated many times, so their mixture is that of the four.
    """
    each = torch.distributions.Normal(mean[:, None], sd[:, None]).log_prob(grid)
    mixture = torch.logsumexp(each, 0) - np.log(len(x))
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(grid)
    mi = float((each.exp() * (each - mixture)).sum(1).mean() * 0.005)
    kl = float((mixture.exp() * (mixture - prior)).sum() * 0.005)

    p = posteriors(model, x.repeat(DRAWS // 40, 1), 0)
    found = whole_set(p)
    rest = aggregate_kl(p)
    yield Line("text VAE: mutual information, whole set", mi, found.value, found.error)
    yield Line("text VAE: KL(q(z) || p(z))", kl, rest.value, rest.error)

    parts = list(torch.arange(len(p)).split(len(x)))
    found = batchwise(p, parts)
    yield Line("text VAE: mutual information, batches", mi, found.value, found.error)


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
    for n in range(longest + 1):
        words = list(itertools.product(WORDS, repeat=n))
        x = torch.tensor([[START, *w, END] for w in words], device=device)

        # Word by word; the padded batch below must give the same sum.
        state = model.p.first_state(len(x), None)
        log_p = torch.zeros(len(x), dtype=torch.float64, device=device)
        for t in range(n + 1):
            after, state = model.p.next_word(x[:, t], None, state)
            log_p += after.gather(1, x[:, t + 1, None])[:, 0]

        by_word += float(log_p.exp().sum())
        rows.append(torch.nn.functional.pad(x, (0, longest - n)))
    return by_word, float(model.log_evidence(torch.cat(rows)).exp().sum())


def _on_grid(model: TextVAE, x: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return log p(x, z) at the grid, and the posteriors.

    Shapes: log p (points, documents); mean and standard deviation of q(z | x), (documents,) each.
    """
    z = grid[:, None, None].expand(-1, len(x), 1)
    mean, log_var = model.encode(x)
    return model.log_joint(x, [z]), mean[:, 0], torch.exp(log_var[:, 0] / 2)
