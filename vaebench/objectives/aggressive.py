"""Aggressive training of the inference network (He et al. 2019, algorithm 1).

In the aggressive phase every outer update moves only the generative model. Before it an inner loop
moves only the inference network, as long as that helps. The phase ends for good once the mutual
information between data and codes, measured at every validation, has stopped rising.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaebench.errors import UserError
from vaebench.models.base import GaussianPosterior
from vaebench.objectives.vae import VAE
from vaebench.settings import validate
from vaebench.settings.kinds import is_number

INNER = ("posterior",)
OUTER = ("model",)

MI_OF = {"batches": "valid_mi_batch", "whole": "valid_mi"}
"""Value of ``mi_of`` -> the mutual information of a validation that ends the aggressive phase."""


class Window:
    """The inner loop: first on the batch of the outer update, then on batches drawn at random.

    After every ``window`` updates, their loss per word is compared with that of the window before.

    Args:
        window: Updates whose losses are compared.
        most: The most updates of the loop.
        strict: Whether the loop ends only if the loss has risen; else it also ends if it is equal.
        fixed: Exact number of updates, without any comparison; None: see above.
    """

    groups = INNER

    def __init__(self, window: int, most: int, strict: bool, fixed: int | None) -> None:
        self.window = window
        self.strict = strict
        self.fixed = fixed is not None
        self.left = most if fixed is None else fixed
        self.made = 0
        self.loss = 0.0
        self.words = 0
        self.before = 1e4

    @property
    def going(self) -> bool:
        """Whether there is another update."""
        return self.left > 0

    def observe(self, loss: float, words: int) -> None:
        """Take note of an update; see InnerLoop.

        Args:
            loss: Its loss, summed over the batch, nats.
            words: Words or pixels that the batch predicts.
        """
        self.made += 1
        self.left -= 1
        self.loss += loss
        self.words += words
        if self.fixed or self.made % self.window:
            return

        # A window is complete. Losses are compared per word, since batches of documents differ in
        # length; the first window is compared with the 1e4 of the authors' code.
        per_word = self.loss / self.words
        if per_word > self.before or (per_word == self.before and not self.strict):
            self.left = 0
        self.before = per_word
        self.loss = 0.0
        self.words = 0


class Aggressive(VAE):
    """A VAE whose inference network is trained aggressively at first.

    Args:
        model: With a Gaussian posterior.
        inner_window: ``window`` of Window.
        inner_most: ``most`` of Window.
        inner_strict: ``strict`` of Window.
        inner_fixed: ``fixed`` of Window.
        mi_start: What the first mutual information is compared with, in nats.
        mi_falls: Number of falls of the mutual information that end the aggressive phase. They
            need not follow each other.
        mi_best: Whether a fall is one below the best value so far; else below the last one.
        mi_of: Which mutual information: within ``batches``, as published, or over the ``whole``
            validation set.
        rest: The settings of VAE.
    """

    tiny = ({},)

    alone = True

    def __init__(
        self,
        model: GaussianPosterior,
        inner_window: int = 10,
        inner_most: int = 99,
        inner_strict: bool = True,
        inner_fixed: int | None = None,
        mi_start: float = 0.0,
        mi_falls: int = 1,
        mi_best: bool = False,
        mi_of: str = "batches",
        **rest: Any,
    ) -> None:
        super().__init__(model, **rest)
        if not self.validation["watch"]:
            raise UserError(
                "objective.watch=false: the mutual information at validations ends "
                "the aggressive phase"
            )

        self.window = validate.whole("objective.inner_window", inner_window)
        self.most = validate.whole("objective.inner_most", inner_most)
        self.fixed = (
            None if inner_fixed is None else validate.whole("objective.inner_fixed", inner_fixed)
        )
        self.strict = validate.flag("objective.inner_strict", inner_strict)

        self.best = validate.flag("objective.mi_best", mi_best)
        validate.one_of("objective.mi_of", mi_of, MI_OF)
        self.watched = MI_OF[mi_of]
        if not is_number(mi_start):
            raise UserError(f"objective.mi_start={mi_start!r}: must be a number")
        self.start = float(mi_start)
        self.falls = validate.whole("objective.mi_falls", mi_falls)

    def state(self, seed: int = 0, cases: int = 1) -> dict[str, Tensor]:
        """Return VAE's state, and that of the aggressive phase.

        ``aggressive`` is 1 during the phase, ``mi`` the mutual information to compare with, and
        ``falls`` says how often it fell.
        """
        start = {"aggressive": 1.0, "mi": self.start, "falls": 0.0}
        of_phase = {k: torch.tensor(v, dtype=torch.float64) for k, v in start.items()}
        return {**super().state(seed, cases), **of_phase}

    def inner_loop(self, state: dict[str, Tensor]) -> Window | None:
        """Return the inner loop, or None after the aggressive phase."""
        return (
            Window(self.window, self.most, self.strict, self.fixed)
            if state["aggressive"] > 0
            else None
        )

    def moves(self, state: dict[str, Tensor]) -> tuple[str, ...] | None:
        """Return the generative model's group in the aggressive phase, else None: all groups."""
        return OUTER if state["aggressive"] > 0 else None

    def validated(self, state: dict[str, Tensor], found: dict[str, float]) -> dict[str, Tensor]:
        """Compare the mutual information with the earlier one; this may end the phase for good."""
        if not state["aggressive"] > 0:
            return state

        mi = found[self.watched]
        earlier_mi = float(state["mi"])
        fell = mi < earlier_mi
        falls = float(state["falls"]) + fell
        of_phase = {
            "aggressive": float(falls < self.falls),
            "mi": max(mi, earlier_mi) if self.best else mi,
            "falls": falls,
        }
        return {**state, **{k: torch.as_tensor(v).to(state[k]) for k, v in of_phase.items()}}
