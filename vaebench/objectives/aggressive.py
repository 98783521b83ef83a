"""Aggressive training of the inference network (He et al. 2019, algorithm 1).

While it is on, every update proper moves the generative model alone, after an inner loop that moves
the inference network alone, for as long as that pays. It goes off for good once the mutual
information of data and codes, taken after every validation, has stopped rising.
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
"""Which mutual information of a validation ends the aggressive phase."""


class Window:
    """The inner loop: on the batch in hand first, then on batches drawn at random.

    After every ``window`` updates the loss per word over these is compared with that of the window
    before; the loop ends where it is larger (``strict``), or not smaller. At most ``most`` updates;
    with ``fixed``, just so many.
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
        """Take note of an update; see InnerLoop."""
        self.made += 1
        self.left -= 1
        self.loss += loss
        self.words += words
        if self.fixed or self.made % self.window:
            return
        now = self.loss / self.words
        if now > self.before or (now == self.before and not self.strict):
            self.left = 0
        self.before = now
        self.loss = 0.0
        self.words = 0


class Aggressive(VAE):
    """``inner_window``, ``inner_most``, ``inner_strict``, ``inner_fixed``: see Window.

    ``mi_start``: what the first mutual information is compared with. ``mi_falls``: so many
    validations at which it fell below the last one, or the best with ``mi_best``, end the
    aggressive phase; they need not follow each other. ``mi_of``: within ``batches``, as published,
    or over the ``whole`` validation set.
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
        """Beside VAE's: whether training is ``aggressive``, and more.

        The mutual information so far, and how often it fell.
        """
        start = {"aggressive": 1.0, "mi": self.start, "falls": 0.0}
        own = {k: torch.tensor(v, dtype=torch.float64) for k, v in start.items()}
        return {**super().state(seed, cases), **own}

    def inner_loop(self, state: dict[str, Tensor]) -> Window | None:
        """Of the aggressive phase only."""
        return (
            Window(self.window, self.most, self.strict, self.fixed)
            if state["aggressive"] > 0
            else None
        )

    def moves(self, state: dict[str, Tensor]) -> tuple[str, ...] | None:
        """The generative model alone in the aggressive phase, then both."""
        return OUTER if state["aggressive"] > 0 else None

    def validated(self, state: dict[str, Tensor], found: dict[str, float]) -> dict[str, Tensor]:
        """Compare the mutual information of this validation.

        The end of the aggressive phase is for good.
        """
        if not state["aggressive"] > 0:
            return state
        now = found[self.watched]
        before = float(state["mi"])
        fell = now < before
        falls = float(state["falls"]) + fell
        new = {
            "aggressive": float(falls < self.falls),
            "mi": max(now, before) if self.best else now,
            "falls": falls,
        }
        return {**state, **{k: torch.as_tensor(v).to(state[k]) for k, v in new.items()}}
