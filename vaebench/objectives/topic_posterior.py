"""Variational Bayes for latent Dirichlet allocation, in batches or online.

An update is a step of natural gradient descent, lambda <- (1 - rho) lambda + rho lambda' (Hoffman,
Blei & Bach 2010). Here lambda' is the optimum for the batch alone, scaled to all documents. So it
works as any other objective, with the gradient lambda - lambda' and the rate rho. With all
documents in a batch and rho = 1 it is the batch algorithm.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from vaebench.dists import dirichlet
from vaebench.errors import UserError
from vaebench.models import lda
from vaebench.models.base import Model
from vaebench.models.lda import LDA
from vaebench.objectives.base import Batch, Objective, State, Step, told
from vaebench.settings import validate
from vaebench.settings.kinds import is_number

ROUNDING = 1e-6
"""Share of a document's words that rounding may take from a fitted posterior."""


class TopicPosterior(Objective):
    """Maximises the bound by coordinate ascent.

    An update fits the posteriors of the batch's documents, by scikit-learn, and then moves the
    posterior of the topics. The state has ``cases``, the number of training documents.

    Args:
        model: Latent Dirichlet allocation.
        decay: kappa of the steps rho_t = (offset + t)^-kappa, t = 1, 2, ...; 0: rho is always 1.
            The optimiser multiplies them by its rate, which should be 1.
        offset: See ``decay``.
        iterations: The most updates of a document's posterior.
        tolerance: Mean change of gamma, in words, below which these updates end.

    Raises:
        UserError: For a setting that is out of range.
    """

    tiny = ({}, {"decay": 0.0})

    model: LDA

    worth_compiling = False
    plain_only = True
    validation = MappingProxyType({"exact": True})

    def __init__(
        self,
        model: LDA,
        decay: float = 0.7,
        offset: float = 10.0,
        iterations: int = 100,
        tolerance: float = 1e-3,
    ) -> None:
        super().__init__()
        self.model = model
        if not is_number(decay) or not 0 <= decay <= 1:
            raise UserError(f"objective.decay={decay!r}: must be a number from 0 to 1")
        self.decay = float(decay)
        self.offset = validate.positive("objective.offset", offset)
        self.iterations = validate.whole("objective.iterations", iterations)
        self.tolerance = validate.positive("objective.tolerance", tolerance)

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether ``model`` is latent Dirichlet allocation."""
        return isinstance(model, LDA)

    def groups(self) -> dict[str, str]:
        """Return one parameter group: a document's posterior has no parameters that are kept."""
        return {"model": "model.p."}

    def state(self, seed: int = 0, cases: int = 1) -> State:
        """Return the number of training documents, to which a batch is scaled."""
        return {"cases": torch.tensor(float(cases))}

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step; see the package docstring."""
        x = batch.x
        # ``counts`` is lambda, ``optimum`` lambda', (topics, V) each. t = 1 in the first update.
        counts = self.model.posterior_of_topics()
        bound, optimum = _Ascent.apply(counts, x, state["cases"], self)  # type: ignore[no-untyped-call]
        rho = (self.offset + told(batch.update) + 1) ** -self.decay if self.decay else 1.0

        # The gradient of half the square is the difference, rho (lambda - lambda'). The value of
        # the loss is minus the bound.
        square = 0.5 * rho * ((self.model.p.counts - optimum) ** 2).sum()
        loss = square - square.detach() - bound
        return loss, dict(state), {"bound": bound.detach()}

    def fitted(self, x: Tensor, counts: Tensor) -> Tensor:
        """Return gamma of every document, (n, topics), fitted by scikit-learn.

        Args:
            x: Counts of the documents, (n, V), float64.
            counts: lambda, (topics, V), float64.
        """
        from scipy.sparse import csr_matrix

        # Set what scikit-learn's own fit would leave behind: ``transform`` reads these, and then
        # fits the documents' posteriors to our topics.
        weight = dirichlet.expected_log(counts).exp()
        estimator = self.estimator()
        estimator.components_ = counts.cpu().numpy()
        estimator.exp_dirichlet_component_ = weight.cpu().numpy()
        estimator.doc_topic_prior_ = self.model.alpha
        estimator.n_features_in_ = x.shape[1]

        gamma = estimator.transform(csr_matrix(x.cpu().numpy()), normalize=False)
        gamma = torch.from_numpy(gamma).to(counts)

        # gamma is the prior and one for every word. scikit-learn adds a small number to the
        # normalisers of q(z), by which a short document with hundreds of topics loses its words.
        # The model fits those few, to its own tolerance.
        words = (gamma - self.model.alpha).sum(-1)
        lost = words < (1 - ROUNDING) * x.sum(-1)
        if bool(lost.any()):
            gamma[lost] = self.model.fitted(x[lost], weight)
        return gamma

    def estimator(self) -> Any:
        """Return scikit-learn's estimator with the priors of the model."""
        from sklearn.decomposition import LatentDirichletAllocation

        return LatentDirichletAllocation(
            self.model.topics,
            doc_topic_prior=self.model.alpha,
            topic_word_prior=self.model.eta,
            max_doc_update_iter=self.iterations,
            mean_change_tol=self.tolerance,
        )


class _Ascent(torch.autograd.Function):
    """The mean bound of a batch, (), and lambda' (topics, V), without gradient.

    Another library computes a part, so nothing here can be differentiated.
    """

    @staticmethod
    def forward(
        counts: Tensor, x: Tensor, cases: Tensor, rule: TopicPosterior
    ) -> tuple[Tensor, Tensor]:
        dtype = counts.dtype
        counts = counts.detach().double()
        weight = dirichlet.expected_log(counts).exp()  # exp E[log beta], (topics, V)
        x = x.double()

        # E-step of the documents, then the optimum for the topics, as if the batch were repeated
        # until it had as many documents as the training set.
        gamma = rule.fitted(x, counts)
        bound = lda.bound_given(x, gamma, weight, rule.model.alpha).mean()
        expected_counts = lda.statistics(x, gamma, weight)
        optimum = rule.model.eta + cases / len(x) * expected_counts
        return bound.to(dtype), optimum.to(dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None, None]:
        return None, None, None, None
