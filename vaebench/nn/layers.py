"""Lists and dictionaries of layers that know of which kind they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, TypeVar, cast

from torch import nn

M_co = TypeVar("M_co", bound=nn.Module, covariant=True)
M = TypeVar("M", bound=nn.Module)


class Layers(Protocol[M_co]):
    """What ``nn.ModuleList`` offers, for layers of one kind."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[M_co]: ...

    def __getitem__(self, index: int) -> M_co: ...


class NamedLayers(Protocol[M_co]):
    """What ``nn.ModuleDict`` offers, for layers of one kind."""

    def __contains__(self, name: str) -> bool: ...

    def __getitem__(self, name: str) -> M_co: ...

    def values(self) -> Iterable[M_co]:
        """The layers in the order of their names' arrival."""


def layer_list(modules: Iterable[M]) -> Layers[M]:
    """An ``nn.ModuleList``, of which PyTorch says only that it holds modules."""
    return cast("Layers[M]", nn.ModuleList(modules))


def layer_dict(modules: Mapping[str, M]) -> NamedLayers[M]:
    """An ``nn.ModuleDict``, likewise."""
    return cast("NamedLayers[M]", nn.ModuleDict(dict(modules)))
