"""Other values in the places of a module's parameters, for the length of a block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

Places = dict[str, tuple[dict[str, Tensor | None], str]]
"""Name of a parameter -> (dictionary that holds it, key in it)."""


def places_of(module: nn.Module) -> Places:
    """Return where every parameter is held.

    Raises:
        ValueError: For a parameter that has two names.
    """
    places: Places = {}
    for prefix, part in module.named_modules():
        for key, v in part._parameters.items():
            if v is not None:
                places[f"{prefix}.{key}" if prefix else key] = part._parameters, key

    # ``named_parameters`` lists a parameter that is held in two places only once.
    if set(places) != {name for name, _ in module.named_parameters()}:
        raise ValueError(
            f"{type(module).__name__} has a parameter of two names, which a step cannot replace"
        )
    return places


@contextlib.contextmanager
def lent(places: Places, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Put ``values`` in ``places`` within a block.

    ``torch.func.functional_call`` does the same, but takes ten times as long.
    """
    # Values go straight into the modules' dictionaries. A module's own attribute assignment would
    # refuse a tensor that is no ``nn.Parameter``.
    originals = [(place, key, place[key]) for place, key in places.values()]
    try:
        for name, (place, key) in places.items():
            place[key] = values[name]
        yield
    finally:
        for place, key, v in originals:
            place[key] = v
