"""What all optimisers share."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from vaebench import kernels
from vaebench.errors import UserError

Tensors = dict[str, Tensor]


class Verdict(NamedTuple):
    """What an optimiser wants after a validation: ``reload`` the best parameters so far, ``stop`` training, and why."""

    reload: bool = False
    stop: str = ""


class Optimiser:
    """Base: how gradients change parameters, in place, with a rate for each parameter group.

    Parameters are name -> tensor, all with the leading axis of packed seeds. ``budget_free``: updates do not depend on
    how many there will be. ``adds_decay``: ``apply_`` takes ``decay`` as well, by name what is added to the gradient as
    a multiple of the parameter; else its caller adds that. ``tiny``: the settings with which the contract tests build
    it; half the squared length of a few parameters must fall by a tenth within 20 updates.
    """

    tiny: ClassVar[Sequence[Mapping[str, Any]]]
    budget_free = True
    adds_decay = False
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
    ) -> None:
        """One update of ``params`` and ``state`` in place; ``group_of`` maps a parameter's name to its group.

        ``progress`` (seeds,): share of the budget that was done before. ``only``: the groups that move, None all; what
        is common to all (a joint norm) still takes every gradient.
        """
        raise NotImplementedError

    def limit(self, largest: dict[str, float]) -> None:
        """Bring the rates of groups that were given none of their own down to ``largest``, by group.

        For steps that are proportional to the gradient; here, for optimisers that scale it, without effect.
        """

    def validated(self, state: Tensors, loss: float, validation: int) -> tuple[Tensors, Verdict]:
        """New state of one seed (no leading axis) after its ``validation``-th validation, from 0, and what to do.

        ``loss``: the bound on the validation cases, positive nats, lower is better.
        """
        return state, Verdict()


def rates_of(**groups: float) -> dict[str, float]:
    """Rate of every parameter group as a float; raises UserError where one is not a finite number above 0."""
    rates = {group: float(value) for group, value in groups.items()}
    for group, value in rates.items():
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"optim: the rate of group {group!r} is {value!r}; it must be a number above 0")
    return rates


def refuse_unrated(name: str, rates: Mapping[str, float], groups: Iterable[str]) -> None:
    """Raise UserError, for the optimiser of that name, if a parameter group has no rate."""
    unknown = set(groups) - set(rates)
    if unknown:
        raise UserError(f"optim={name} has no rate for the parameters of {', '.join(sorted(unknown))}")


def across(seeds: Tensor, p: Tensor) -> Tensor:
    """Numbers of the packed seeds, (seeds,), in a shape that multiplies a parameter (seeds, ...)."""
    return seeds.reshape((-1,) + (1,) * (p.dim() - 1))


def with_decay(grads: Tensors, params: Tensors, decay: Mapping[str, float]) -> Tensors:
    """The gradients, with ``decay`` times the parameter added to those that it names."""
    return {**grads, **{name: grads[name].add(params[name], alpha=v) for name, v in decay.items()}}


def alike(
    names: Iterable[str], rates: Mapping[str, float], group_of: Mapping[str, str], decay: Mapping[str, float]
) -> dict[tuple[float, float], list[str]]:
    """(rate, decay) -> the parameters that share both, which one fused step can take together."""
    out: dict[tuple[float, float], list[str]] = {}
    for name in names:
        out.setdefault((rates[group_of[name]], decay.get(name, 0.0)), []).append(name)
    return out


def fusable(params: Tensors) -> bool:
    """Whether PyTorch's fused step can be taken: float32 on a CPU, and nobody records what is done."""
    return all(kernels.plain(p) for p in params.values())
