"""What all optimisers share."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from vaebench import kernels
from vaebench.errors import UserError

Tensors = dict[str, Tensor]


class Update(NamedTuple):
    """One update of packed seeds, which changes parameters and state in place.

    Attributes:
        params: Name -> parameter, (seeds, ...).
        grads: Their gradients.
        state: What persists between updates, with the leading axis of the seeds.
        group_of: Name of a parameter -> its group.
        progress: Share of the budget that was done before, (seeds,).
        only: The groups that move, None all. What is common to all (a joint norm)
            still takes every gradient.
        decay: Name of a parameter -> what is added to its gradient as a multiple of the parameter,
            see ``adds_decay``.
    """

    params: Tensors
    grads: Tensors
    state: Tensors
    group_of: Mapping[str, str]
    progress: Tensor
    only: Collection[str] | None
    decay: Mapping[str, float]

    def moving(self) -> list[str]:
        """Names of the parameters that move."""
        return [
            name for name in self.params if self.only is None or self.group_of[name] in self.only
        ]


class Verdict(NamedTuple):
    """What an optimiser wants after a validation.

    ``reload`` the best parameters so far, ``stop`` training, and why.
    """

    reload: bool = False
    stop: str = ""


class Optimiser:
    """Base: how gradients change parameters, in place, with a rate for each parameter group.

    Attributes:
        rates: Of every group.
        budget_free: Whether updates do not depend on how many there will be.
        adds_decay: Whether ``move`` adds ``decay`` to the gradients by itself; else it is given
            gradients with it.
        apart: Whether some groups may move while others stand still.
        tiny: The settings with which the contract tests build it: half the squared length of a few
            parameters must fall by a tenth within 20 updates.
    """

    tiny: ClassVar[Sequence[Mapping[str, Any]]]
    budget_free = True
    adds_decay = False
    apart = True
    rates: dict[str, float]

    def state(self, params: Tensors) -> Tensors:
        """What persists between updates, as it is before the first: nothing."""
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
        """One update of ``params`` and ``state`` in place; for the arguments see ``Update``.

        Raises:
            ValueError: For a part of the groups, if they cannot move apart.
        """
        if only is not None and not self.apart:
            raise ValueError(f"{type(self).__name__} moves all groups at once")
        decay = decay or {}
        with torch.no_grad():
            if not self.adds_decay:
                grads = with_decay(grads, params, decay)
            self.move(Update(params, grads, state, group_of, progress, only, decay))

    def move(self, update: Update) -> None:
        """What ``apply_`` does, without recording it for a gradient."""
        raise NotImplementedError

    def limit(self, largest: dict[str, float]) -> None:
        """Bring the rates of groups that were given none of their own down to ``largest``.

        Both are by group. For steps that are proportional to the gradient; here, for optimisers
        that scale it, without effect.
        """

    def validated(self, state: Tensors, loss: float, validation: int) -> tuple[Tensors, Verdict]:
        """New state of one seed after its ``validation``-th validation, and what to do.

        Validations count from 0; there is no leading axis. ``loss``: the bound on the validation
        cases, positive nats, lower is better.
        """
        return state, Verdict()


def rates_of(rate: float, **groups: float | None) -> dict[str, float]:
    """Rate of every parameter group as a float, that of the model for None.

    Raises:
        UserError: If one is not a finite number above 0.
    """
    rates = {
        group: float(rate if value is None else value)
        for group, value in {"model": rate, **groups}.items()
    }
    for group, value in rates.items():
        if not (math.isfinite(value) and value > 0):
            raise UserError(
                f"optim: the rate of group {group!r} is {value!r}; it must be a number above 0"
            )
    return rates


def refuse_unrated(name: str, rates: Mapping[str, float], update: Update) -> None:
    """Raise UserError, for the optimiser of that name, if a parameter group has no rate."""
    unknown = {update.group_of[parameter] for parameter in update.params} - set(rates)
    if unknown:
        raise UserError(
            f"optim={name} has no rate for the parameters of {', '.join(sorted(unknown))}"
        )


def across(seeds: Tensor, p: Tensor) -> Tensor:
    """Numbers of the packed seeds, (seeds,), as factors.

    In a shape that multiplies a parameter (seeds, ...).
    """
    return seeds.reshape((-1,) + (1,) * (p.dim() - 1))


def with_decay(grads: Tensors, params: Tensors, decay: Mapping[str, float]) -> Tensors:
    """The gradients, with ``decay`` times the parameter added to those that it names."""
    if not decay:
        return grads
    return {**grads, **{name: grads[name].add(params[name], alpha=v) for name, v in decay.items()}}


def alike(
    names: Iterable[str], rates: Mapping[str, float], update: Update
) -> dict[tuple[float, float], list[str]]:
    """(rate, decay) -> the parameters that share both, which one fused step can take together."""
    out: dict[tuple[float, float], list[str]] = {}
    for name in names:
        out.setdefault((rates[update.group_of[name]], update.decay.get(name, 0.0)), []).append(name)
    return out


def fusable(params: Tensors) -> bool:
    """Whether PyTorch's fused step can be taken.

    float32 on a CPU, and nobody records what is done.
    """
    return all(kernels.plain(p) for p in params.values())
