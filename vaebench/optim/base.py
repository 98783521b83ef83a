"""The base of all optimisers, and functions that they share."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from vaebench import kernels
from vaebench.errors import UserError

Tensors = dict[str, Tensor]

NETWORKS = ("model", "posterior")
"""The parameter groups of the generative model and of the inference network."""

GROUPS = (*NETWORKS, "baseline", "noise")
"""All parameter groups that objectives have; see ``Objective.groups``."""


class Update(NamedTuple):
    """One update of packed seeds, which changes parameters and state in place.

    Attributes:
        params: Name -> parameter, (seeds, ...).
        grads: Their gradients.
        state: What persists between updates, with the leading axis of the seeds.
        group_of: Name of a parameter -> its group.
        progress: Share of the budget that was done before, (seeds,).
        only: The groups that move; None: all. What all groups share (a joint norm) still uses every
            gradient.
        decay: Name of a parameter -> multiple of the parameter that is added to its gradient; see
            ``adds_decay``.
    """

    params: Tensors
    grads: Tensors
    state: Tensors
    group_of: Mapping[str, str]
    progress: Tensor
    only: Collection[str] | None
    decay: Mapping[str, float]

    def moving(self) -> list[str]:
        """Return the names of the parameters that move."""
        return [
            name for name in self.params if self.only is None or self.group_of[name] in self.only
        ]


class Verdict(NamedTuple):
    """What an optimiser asks for after a validation.

    Attributes:
        reload: Whether to load the best parameters so far.
        stop: Why training is to stop; empty: it is to go on.
    """

    reload: bool = False
    stop: str = ""


class Optimiser:
    """Base: how gradients change parameters, in place, with a rate for each parameter group.

    The attributes depend on the settings. So read them from an optimiser that is built, never from
    a class. Only ``tiny`` belongs to the class.

    Attributes:
        rates: Learning rate of every group.
        budget_free: Whether updates do not depend on how many there will be.
        adds_decay: Whether ``move`` adds ``decay`` to the gradients by itself; otherwise it
            receives gradients that include it.
        apart: Whether some groups may move while others stand still.
        tiny: Settings with which the contract tests build it. With them, half the squared length of
            a few parameters must fall by a tenth within 20 updates.
    """

    tiny: ClassVar[Sequence[Mapping[str, Any]]]
    budget_free = True
    adds_decay = False
    apart = True
    rates: dict[str, float]

    def state(self, params: Tensors) -> Tensors:
        """Return what persists between updates, as it is before the first: here nothing."""
        return {}

    def apply_(
        self,
        params: Tensors,
        grads: Tensors,
        state: Tensors,
        group_of: dict[str, str],
        progress: Tensor,
        only: Collection[str] | None = None,
        decay: Mapping[str, float] | None = None,
    ) -> None:
        """Make one update of ``params`` and ``state`` in place; for the arguments see ``Update``.

        Raises:
            ValueError: If only some groups are to move, but they cannot move apart.
        """
        if only is not None and not self.apart:
            raise ValueError(f"{type(self).__name__} moves all groups at once")

        decay = decay or {}
        with torch.no_grad():
            if not self.adds_decay:
                grads = with_decay(grads, params, decay)
            self.move(Update(params, grads, state, group_of, progress, only, decay))

    def move(self, update: Update) -> None:
        """Make the update in place; ``apply_`` calls this without gradient."""
        raise NotImplementedError

    def limit(self, largest: dict[str, float]) -> None:
        """Lower the rates of groups that were given none of their own to ``largest``, by group.

        This matters for steps that are proportional to the gradient. Here it does nothing, as is
        right for optimisers that scale the gradient.
        """

    def validated(self, state: Tensors, loss: float, validation: int) -> tuple[Tensors, Verdict]:
        """Return the new state of one seed after a validation, and what is to be done.

        Args:
            state: Of this seed, without the leading axis.
            loss: The bound on the validation examples, positive nats; lower is better.
            validation: Number of the validation, from 0.
        """
        return state, Verdict()


def rates_of(rate: float, groups: Iterable[str] = GROUPS, **own: float | None) -> dict[str, float]:
    """Return the rate of every parameter group as a float.

    Args:
        rate: Of the generative model, and of every group that has none of its own.
        groups: The groups that the optimiser moves.
        **own: Rates of groups; None: none of its own.

    Raises:
        UserError: If a rate is not a finite number above 0.
    """
    rates = {group: float(rate) for group in groups}
    rates |= {group: float(value) for group, value in own.items() if value is not None}

    for group, value in rates.items():
        if not (math.isfinite(value) and value > 0):
            raise UserError(
                f"optim: the rate of group {group!r} is {value!r}; it must be a number above 0"
            )
    return rates


def refuse_unrated(name: str, rates: Mapping[str, float], groups: Iterable[str]) -> None:
    """Raise a UserError that names the optimiser ``name`` if a parameter group has no rate."""
    unknown = set(groups) - set(rates)
    if unknown:
        raise UserError(
            f"optim={name} has no rate for the parameters of {', '.join(sorted(unknown))}; "
            "allowed: an optimiser that has, such as optim=adam"
        )


def across(seeds: Tensor, p: Tensor) -> Tensor:
    """Shape one number for each seed, (seeds,), so that it can multiply ``p`` (seeds, ...)."""
    return seeds.reshape((-1,) + (1,) * (p.dim() - 1))


def with_decay(grads: Tensors, params: Tensors, decay: Mapping[str, float]) -> Tensors:
    """Return the gradients, plus ``decay`` times the parameter for the names in ``decay``."""
    if not decay:
        return grads
    return {**grads, **{name: grads[name].add(params[name], alpha=v) for name, v in decay.items()}}


def alike(
    names: Iterable[str], rates: Mapping[str, float], update: Update
) -> dict[tuple[float, float], list[str]]:
    """Group parameters that one fused step can move together: (rate, decay) -> their names."""
    out: dict[tuple[float, float], list[str]] = {}
    for name in names:
        out.setdefault((rates[update.group_of[name]], update.decay.get(name, 0.0)), []).append(name)
    return out


def fusable(params: Tensors) -> bool:
    """Whether PyTorch's fused step can be taken.

    It can for float32 on a CPU, if neither the compiler nor torch.func traces the operations.
    """
    return all(kernels.plain(p) for p in params.values())
