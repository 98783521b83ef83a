"""Compiled steps that ask for nothing but the shapes of their inputs.

Before it runs a program, the compiler looks whether all that it once read is still as it was: a
thousand looks at settings and parameters, half a millisecond, for a step that may take one. What a
pack trains never changes, and its tensors change in place alone, so that a program of its own for
each shape of the inputs needs none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor

Step = Callable[..., dict[str, Tensor]]


COMPILER = ("torch._dynamo", "torch._inductor")
"""Where the compiler's own errors are from."""

LONGEST = 200
"""Letters of its error that are told: it may print a program."""


class NotCompiled(RuntimeError):
    """The compiler failed, or was stopped with the rest: a terminal's Ctrl-C reaches it too."""


class Programs:
    """A pack's step, compiled anew for inputs of other shapes.

    Args:
        step: A method that takes (index, noise, binarize, clock); what it reads of its object stays
            as it is, but for values of tensors.
        options: For ``torch.compile``.
    """

    def __init__(self, step: Any, options: dict[str, Any]) -> None:
        # Earlier packs' programs go, or a process that trains many cells would run into the
        # compiler's limit.
        torch.compiler.reset()
        self.step = step
        self.options = {**options, "guard_filter_fn": lambda looks: [False for _ in looks]}
        self.found: dict[tuple[Any, ...], Step] = {}

    def __call__(
        self, index: Tensor, noise: dict[str, Tensor], binarize: Tensor | None, clock: Tensor
    ) -> dict[str, Tensor]:
        """One step. Raises NotCompiled where its program cannot be made."""
        shapes = (
            index.shape,
            None if binarize is None else binarize.shape,
            *(v.shape for v in noise.values()),
        )
        known = self.found.get(shapes)
        if known:
            return known(index, noise, binarize, clock)

        program: Step = torch.compile(
            separate(self.step), dynamic=False, fullgraph=True, options=self.options
        )
        try:
            out = program(index, noise, binarize, clock)
        except Exception as e:
            if type(e).__module__.startswith(COMPILER):
                raise NotCompiled(str(e).strip().partition("\n")[0][:LONGEST]) from e
            raise
        self.found[shapes] = program
        return out


def separate(method: Any) -> Any:
    """The same method with code of its own.

    The compiler keeps programs by code, and would mistake one for another.
    """
    code = method.__func__.__code__.replace()
    function = FunctionType(code, method.__func__.__globals__, method.__name__, method.__defaults__)
    return MethodType(function, method.__self__)
