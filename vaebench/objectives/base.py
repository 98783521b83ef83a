"""The base of all objectives: the parts of their interface that most of them leave as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor, nn

from vaebench.models.base import Model
from vaebench.nn import batch_norm
from vaebench.rng.noise import Shapes

State = dict[str, Tensor]

Step = tuple[Tensor, State, State]
"""Result of a step: the loss, the new state, and metrics."""

Tiny = Sequence[Mapping[str, Any]]
"""One or several choices of an objective's settings."""

MODEL = "model."
"""Prefix of the names of the model's parameters and buffers in an objective."""


class Batch(NamedTuple):
    """The data of one step, and how far training is.

    Objectives use what they need; small tests supply only ``x``.

    Attributes:
        x: Examples, (batch, d), floats; for documents token numbers.
        rows: Their row numbers in the training set, (batch,).
        update: Number of updates done before this one, ().
        progress: The same as a share of the budget, from 0 to below 1, ().
        passes: Passes over the training examples, including this update, ().
    """

    x: Tensor
    rows: Tensor | None = None
    update: Tensor | None = None
    progress: Tensor | None = None
    passes: Tensor | None = None


class Parts(NamedTuple):
    """The parts of a training that come before the whole model is trained.

    Attributes:
        setting: Name of the setting that says how long they are.
        length: Length of all of them together, in ``unit``.
        unit: ``updates`` or ``epochs``.
    """

    setting: str
    length: int
    unit: str


def told(time: Tensor | None) -> Tensor:
    """Return ``time``, a field of a batch that the objective cannot do without.

    Raises:
        ValueError: If the batch does not have it.
    """
    if time is None:
        raise ValueError("this rule depends on the time, of which its batch tells nothing")
    return time


class InnerLoop(Protocol):
    """Updates of some parameter groups before an outer update; their number is decided on the way.

    After each of these updates ``observe`` is called. It is given the loss, summed over the
    examples of the batch (nats), and how many words or pixels were predicted.
    """

    @property
    def groups(self) -> tuple[str, ...]:
        """Parameter groups that move."""

    @property
    def going(self) -> bool:
        """Whether there is another update."""

    def observe(self, loss: float, words: int) -> None:
        """Take note of an update that was made."""


class Objective(nn.Module):
    """A learning rule around a model; see the package docstring for its interface.

    A constructor may set any of these attributes to another value, as its settings or its model
    ask. So read them from an objective that is built, never from a class. Only ``tiny`` belongs to
    the class.

    Attributes:
        tiny: Settings with which the contract tests build the objective around every tiny model
            that it trains.
        budget_free: Whether a step is the same however many updates there will be.
        per_case: Names of state that has a row for every training example. A step receives and
            returns the rows of its batch.
        block: How many updates have their noise drawn at once; None: the usual number. Objectives
            with much noise choose a small number.
        worth_compiling: False if a step is mostly a long loop: a compiler would unroll it, which
            takes long and gains nothing.
        kernel: Which part of a step has loops of our own: ``all``, only its ``chains`` of bits, or
            none (empty).
        chain_noise: Names of the noise that these loops take as digits.
        alone: Whether seeds are trained one by one, by the plain engine. Set it if an update
            depends on the outcome of the previous one.
        plain_only: Whether only the plain engine can make a step. That is so if the amount of work
            depends on the values of the batch (the words of its documents), or if another library
            does a part.
        weight_decay: lambda in lambda / 2 |.|^2 over ``model.decayed()``, a part of the loss.
        no_half: Why the products of a step may not be bfloat16; empty if they may.
        validation: How the bound that selects the checkpoint is taken, see
            vaebench.metrics.validation.
    """

    tiny: ClassVar[Tiny]
    budget_free = True
    per_case: tuple[str, ...] = ()
    chain_noise: ClassVar[tuple[str, ...]] = ()
    block: int | None = None
    worth_compiling = True
    kernel: ClassVar[str] = ""
    alone = False
    plain_only = False
    weight_decay = 0.0
    no_half = ""
    validation: Mapping[str, Any] = MappingProxyType({})

    model: Model

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether the objective can train a model."""
        return True

    @staticmethod
    def first_parts(objective: dict[str, Any], model: dict[str, Any]) -> Parts | None:
        """Return the part of the budget that passes before the whole model is trained.

        Args:
            objective: The ``objective`` group of a cell.
            model: Its ``model`` group.

        Returns:
            None if the whole model is trained from the start.
        """
        return None

    def groups(self) -> dict[str, str]:
        """Return the prefix of every parameter group: generative model, inference network."""
        return {"model": "model.p.", "posterior": "model.q."}

    def largest_rates(self, batch: int) -> dict[str, float]:
        """Return the largest stable rates of plain gradient descent by group, if any are known.

        Args:
            batch: Examples of one update.
        """
        return {}

    def state(self, seed: int = 0, cases: int = 1) -> State:
        """Return what persists between updates, as it is at the start of a run.

        For most objectives these are only the running averages of batch normalisation, if the model
        has any.

        Args:
            seed: Seed of the run.
            cases: Number of training examples.
        """
        return batch_norm.initial(self.model, MODEL)

    def averages(self, state: State, tape: batch_norm.Tape) -> State:
        """Return the running averages, with the batch statistics of ``tape`` entered."""
        return batch_norm.running(self.model, MODEL, state, tape)

    def noise(self, batch: int) -> Shapes:
        """Return what ``draws`` returns, if that does not depend on the width: here no noise."""
        return {}

    def draws(self, batch: int, width: int) -> Shapes:
        """Return the noise of one update, name -> (kind, shape).

        Args:
            batch: Examples of the update.
            width: Numbers of each example.
        """
        return self.noise(batch)

    def inner_loop(self, state: State) -> InnerLoop | None:
        """Return the inner loop before the next outer update, if any.

        Objectives that have one are ``alone``.
        """
        return None

    def moves(self, state: State) -> tuple[str, ...] | None:
        """Return the parameter groups that the next outer update moves; None: all.

        Objectives that do not always move all are ``alone``.
        """
        return None

    def validated(self, state: State, found: dict[str, float]) -> State:
        """Return the new state after a validation.

        Args:
            state: The state before.
            found: Results of the validation: ``valid_bound``, positive nats, and others.
        """
        return state
