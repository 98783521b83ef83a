"""What all learning rules share: the parts of the protocol that most of them leave as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor, nn

from vaebench.models.base import Model
from vaebench.nn import batch_norm

State = dict[str, Tensor]

Step = tuple[Tensor, State, State]
"""What a step gives: the loss, the new state, metrics."""

Tiny = Sequence[Mapping[str, Any]]
"""Settings of a rule, one or several choices of them."""

MODEL = "model."
"""What the names of the model's parameters and buffers begin with in an objective."""


class Batch(NamedTuple):
    """What a step is given of the data and of the time.

    Rules take what they need; a tiny test gives ``x`` alone.

    Attributes:
        x: Examples (batch, d), floats; of documents token numbers.
        rows: Their row numbers in the training set, (batch,).
        update: Updates done before this one, ().
        progress: The same as a share of the budget, from 0 to below 1, ().
        passes: Passes over the training examples with this update, ().
    """

    x: Tensor
    rows: Tensor | None = None
    update: Tensor | None = None
    progress: Tensor | None = None
    passes: Tensor | None = None


class Parts(NamedTuple):
    """The first parts of a training that goes on in parts.

    Attributes:
        setting: Which setting says how long they are.
        length: How long all of them take together, in ``unit``.
        unit: ``updates`` or ``epochs``.
    """

    setting: str
    length: int
    unit: str


def told(time: Tensor | None) -> Tensor:
    """What a batch tells of the time.

    Raises ValueError where a rule needs it and it is not told.
    """
    if time is None:
        raise ValueError("this rule depends on the time, of which its batch tells nothing")
    return time


class InnerLoop(Protocol):
    """Updates of some parameter groups before an update proper; how many is decided as they go.

    ``observe`` is told of each its loss, summed over the documents of its batch (nats), and the
    number of words these predict.
    """

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that move."""

    @property
    def going(self) -> bool:
        """Whether there is another update."""

    def observe(self, loss: float, words: int) -> None:
        """Take note of an update that was made."""


class Objective(nn.Module):
    """A learning rule around a model; see the package docstring for the protocol.

    Attributes:
        tiny: The settings with which the contract tests build the rule around every
            tiny model that it trains.
        budget_free: Whether a step is the same however many updates there will be.
        per_case: Names of the state that has a row for every training example. A step sees and
            returns its batch's.
        block: Updates whose noise is drawn at once, None for the usual number; rules
            that draw much take few.
        worth_compiling: False if a step is mostly a long loop, which a compiler unrolls,
            slowly and for nothing.
        kernel: What of a step has loops of our own: ``all``, only its ``chains`` of bits, or
            nothing (empty).
        chain_noise: Names of the noise that these loops take by its digits.
        alone: Whether seeds are trained one by one, by the plain engine. Set it if an update
            depends on the outcome of the previous one.
        plain_only: Whether no other engine can take a step: how much there is to compute depends on
            the values of the batch (the words of its documents), or a library does a part.
        weight_decay: lambda in lambda / 2 |.|^2 over ``model.decayed()``, a part of the loss.
        no_half: Why the products of a step may not be bfloat16, empty where they may.
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
        """Whether the rule can train a model."""
        return True

    @staticmethod
    def first_parts(objective: dict[str, Any], model: dict[str, Any]) -> Parts | None:
        """What of the budget passes before the whole model is trained, by these settings of a cell.

        None: nothing.
        """
        return None

    def groups(self) -> dict[str, str]:
        """Parameter groups by prefix: generative model, inference network."""
        return {"model": "model.p.", "posterior": "model.q."}

    def largest_rates(self, batch: int) -> dict[str, float]:
        """Rates of plain gradient descent above which updates are unstable: none.

        By group, for updates on ``batch`` cases.
        """
        return {}

    def state(self, seed: int = 0, cases: int = 1) -> State:
        """What persists between updates, at the start of a run.

        Of the run with this seed on so many training cases. Of most rules nothing but the running
        averages of batch normalisation, where the model has some.
        """
        return batch_norm.initial(self.model, MODEL)

    def averages(self, state: State, tape: batch_norm.Tape) -> State:
        """The running averages of batch normalisation after a batch.

        Of a batch whose statistics are on the tape.
        """
        return batch_norm.running(self.model, MODEL, state, tape)

    def noise(self, batch: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """As ``draws``, of rules to which the width is nothing: none."""
        return {}

    def draws(self, batch: int, width: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Noise of one update of so many cases, each of ``width`` numbers.

        Name -> (kind, shape).
        """
        return self.noise(batch)

    def inner_loop(self, state: State) -> InnerLoop | None:
        """The updates to be made before the next one proper, if any.

        Rules that have some are ``alone``.
        """
        return None

    def moves(self, state: State) -> tuple[str, ...] | None:
        """Parameter groups that the next update proper moves; None: all.

        Rules that say some are ``alone``.
        """
        return None

    def validated(self, state: State, found: dict[str, float]) -> State:
        """New state after a validation that ``found`` these numbers.

        ``valid_bound``, positive nats, and more.
        """
        return state
