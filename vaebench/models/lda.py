"""Latent Dirichlet allocation with a variational posterior over its topics.

Blei, Ng & Jordan 2003.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.dists import dirichlet
from vaebench.errors import UserError
from vaebench.models.base import BoundedModel, Tiny
from vaebench.protocol.families import FAMILIES
from vaebench.settings import validate


class LDA(BoundedModel):
    """theta ~ Dir(alpha); then for each word a topic k ~ theta, and the word ~ topic k.

    Topics ~ Dir(eta). The only parameter is lambda, of the posterior Dir(lambda_k) over each topic.
    Measures take the model whose topics are the means of this posterior:
    p(w | theta) = sum_k theta_k lambda_kw / sum_v lambda_kv.

    Args:
        info: What is known of the data: the size of the vocabulary.
        dims: Number of topics, in a list of one number.
        document_prior: alpha, the same for each topic; None: 1 / topics.
        topic_prior: eta, the same for each word; None: 1 / topics.

    Raises:
        UserError: For a setting that is out of range.

    Reference:
        Blei, Ng & Jordan 2003; the posterior over topics is that of Hoffman, Blei & Bach 2010.
    """

    facts = FAMILIES["lda"]
    tiny: ClassVar[Tiny] = {
        "LDA 3": {"dims": [3]},
        "LDA 2": {"dims": [2], "document_prior": 0.3, "topic_prior": 0.1},
    }

    CHUNK = 500
    """Number of documents that ``evidence_bound`` takes at a time."""

    ITERATIONS = 2000
    """Upper limit on the updates of a document's posterior. Any number of them gives a bound;
    more give a tighter one.
    """

    TOLERANCE = 1e-6
    """Largest mean change of gamma over the topics, in words, at which a posterior counts as
    converged. The change of a short document that has many topics to choose from is small long
    before its posterior is a maximum. The maximum that is reached depends on the start, which is
    the same for all topics, and need not be the best one.
    """

    def __init__(
        self,
        info: DataInfo,
        dims: Sequence[int] = (50,),
        document_prior: float | None = None,
        topic_prior: float | None = None,
    ) -> None:
        if len(dims) != 1:
            raise UserError(f"model.dims={list(dims)}: allowed: one number of topics, such as [50]")
        super().__init__(info)
        self.topics = validate.whole("model.dims", dims[0])
        self.alpha = self._prior("model.document_prior", document_prior)
        self.eta = self._prior("model.topic_prior", topic_prior)
        self.p = Topics(self.topics, info.size)

    def _prior(self, key: str, value: float | None) -> float:
        return 1 / self.topics if value is None else validate.positive(key, value)

    def posterior_of_topics(self) -> Tensor:
        """Return lambda, (topics, V).

        Learning keeps it at eta or above, except for rounding, which is undone here.
        """
        return self.p.counts.clamp(min=self.eta)

    def mean_topics(self) -> Tensor:
        """Return the posterior mean of p(word | topic), (topics, V)."""
        counts = self.posterior_of_topics()
        return counts / counts.sum(-1, keepdim=True)

    @torch.no_grad()
    def evidence_bound(self, x: Tensor) -> Tensor:
        """Return E_q[log p(words, theta, z) - log q] given the mean topics, (n,), nats, float64.

        ``x`` (n, V) are counts. q(theta) = Dir(gamma) is fitted to each document, and q(z) is
        optimal given that. The probability is that of the sequence of words, without a multinomial
        coefficient.
        """
        topics = self.mean_topics().double()
        return torch.cat([self._bound(part.double(), topics) for part in x.split(self.CHUNK)])

    def _bound(self, x: Tensor, topics: Tensor) -> Tensor:
        """Return ``evidence_bound`` of a few documents, at once."""
        gamma = self.fitted(x, topics)
        return bound_given(x, gamma, topics, self.alpha)

    def fitted(self, x: Tensor, topics: Tensor) -> Tensor:
        """Fit q(theta) = Dir(gamma) to each document by coordinate ascent.

        Args:
            x: Counts (n, V), of the dtype of ``topics``.
            topics: p(word | topic), or exp E[log p(word | topic)], (topics, V).

        Returns:
            gamma, (n, topics).
        """
        # gamma = alpha + sum over the words of q(z) (equation 7 of Blei et al.), with the q(z) that
        # is optimal given the last gamma (equation 6).
        gamma = x.new_ones(len(x), len(topics))
        unconverged = torch.arange(len(x), device=x.device)
        for _ in range(self.ITERATIONS):
            before = gamma[unconverged]
            after = self.alpha + shares(x[unconverged], before, topics)
            gamma[unconverged] = after

            # Only the documents that have not converged are updated again.
            unconverged = unconverged[(after - before).abs().mean(-1) > self.TOLERANCE]
            if not len(unconverged):
                break

        return gamma


class Topics(nn.Module):
    """The parameters of the posterior over topics: pseudo-counts (topics, V)."""

    SHAPE = 100
    """The first counts are drawn from Gamma(SHAPE, 1 / SHAPE), with mean 1 and standard deviation
    0.1, as in scikit-learn.
    """

    def __init__(self, topics: int, vocabulary: int) -> None:
        super().__init__()
        self.counts = nn.Parameter(torch.ones(topics, vocabulary))

    def start(self, generator: torch.Generator) -> None:
        """Set random counts: a Gamma variable with a whole shape is a sum of exponential ones."""
        self.counts.zero_()
        for _ in range(self.SHAPE):
            self.counts.add_(
                torch.empty_like(self.counts).exponential_(self.SHAPE, generator=generator)
            )


def shares(x: Tensor, gamma: Tensor, topics: Tensor) -> Tensor:
    """Return the expected number of words of each topic in each document, (n, topics).

    The expectation is over the optimal q(z) given ``gamma``.
    """
    # q(z = k) of a word w is weight_k topics_kw / sum_j weight_j topics_jw. The sum over the words
    # of a document is a matrix product, so q(z) of each word is never in memory.
    weight, _ = _weight(gamma)
    return weight * (_ratio(x, weight, topics) @ topics.mT)


def statistics(x: Tensor, gamma: Tensor, topics: Tensor) -> Tensor:
    """Return how often each topic is expected to have made each word, (topics, V).

    The numbers are sums over all documents ``x`` (n, V).
    """
    # The same q(z) as in ``shares``, summed over documents instead of words.
    weight, _ = _weight(gamma)
    return topics * (weight.mT @ _ratio(x, weight, topics))


def bound_given(x: Tensor, gamma: Tensor, topics: Tensor, alpha: float) -> Tensor:
    """Return the bound of each document, (n,), nats, at Dir(gamma) and the optimal q(z)."""
    # At the optimal q(z) the terms of a word with z are log sum_k exp(E[log theta_k]) topics_kw.
    weight, log_scale = _weight(gamma)
    log_normaliser = torch.log(weight @ topics) + log_scale
    # Words that do not occur add nothing, even if their probability is 0.
    words = torch.where(x > 0, x * log_normaliser, 0.0)
    return words.sum(-1) - dirichlet.kl(gamma, alpha)


def _weight(gamma: Tensor) -> tuple[Tensor, Tensor]:
    """Return exp E[log theta] over its largest entry, (n, topics), and the log of that, (n, 1)."""
    # Of a short document with hundreds of topics every entry is below the smallest float.
    expected_log = dirichlet.expected_log(gamma)
    log_scale = expected_log.amax(-1, keepdim=True)
    return (expected_log - log_scale).exp(), log_scale


def _ratio(x: Tensor, weight: Tensor, topics: Tensor) -> Tensor:
    """Return counts over the normalisers of q(z), (n, V); 0 for words that do not occur."""
    normaliser = weight @ topics
    return torch.where(x > 0, x / normaliser, 0.0)
