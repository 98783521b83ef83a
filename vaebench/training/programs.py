"""Compiled steps that check only the shapes of their inputs.

Before it runs a program, torch.compile checks that everything it once read is still the same. These
thousand checks of settings and parameters take half a millisecond, for a step that may take one.
What a pack trains never changes, and its tensors change only in place. So one program for each
shape of the inputs needs none of these checks.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor

Step = Callable[..., dict[str, Tensor]]


COMPILER = ("torch._dynamo", "torch._inductor")
"""Packages from which the compiler's own errors come."""

LONGEST = 200
"""Largest number of letters that are shown of the compiler's error, which may print a program."""


class NotCompiled(RuntimeError):
    """The compiler failed, or was stopped: a Ctrl-C in the terminal reaches it too."""


class Programs:
    """A pack's step, with a compiled program for every shape of its inputs.

    Args:
        step: A method that takes (index, noise, binarize, clock). Of what it reads from its object,
            only the values of tensors may change.
        options: Passed to ``torch.compile``.
    """

    def __init__(self, step: Any, options: dict[str, Any]) -> None:
        # Drop the programs of earlier packs, or a process that trains many cells would run into
        # the compiler's limit.
        torch.compiler.reset()

        # The filter says of each of the compiler's checks whether to keep it: none.
        self.step = step
        self.options = {**options, "guard_filter_fn": lambda guards: [False for _ in guards]}
        self.found: dict[tuple[Any, ...], Step] = {}

    def __call__(
        self, index: Tensor, noise: dict[str, Tensor], binarize: Tensor | None, clock: Tensor
    ) -> dict[str, Tensor]:
        """Make one step.

        Raises:
            NotCompiled: If the program for these shapes cannot be made.
        """
        shapes = (
            index.shape,
            None if binarize is None else binarize.shape,
            *(v.shape for v in noise.values()),
        )
        compiled = self.found.get(shapes)
        if compiled:
            return compiled(index, noise, binarize, clock)

        # The compiler works at the first call, so its errors come from there.
        program: Step = torch.compile(
            separate(self.step), dynamic=False, fullgraph=True, options=self.options
        )
        try:
            metrics = program(index, noise, binarize, clock)
        except Exception as error:
            if type(error).__module__.startswith(COMPILER):
                raise NotCompiled(str(error).strip().partition("\n")[0][:LONGEST]) from error
            raise

        self.found[shapes] = program
        return metrics


def separate(method: Any) -> Any:
    """Return the same method with a copy of its code.

    The compiler stores programs by code, and would mistake the program of one pack for another's.
    """
    code = method.__func__.__code__.replace()
    function = FunctionType(code, method.__func__.__globals__, method.__name__, method.__defaults__)
    return MethodType(function, method.__self__)
