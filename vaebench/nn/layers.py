"""Lists and dictionaries of layers whose types say of which kind the layers are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, TypeVar, cast

from torch import nn

M_co = TypeVar("M_co", bound=nn.Module, covariant=True)
M = TypeVar("M", bound=nn.Module)


class Layers(Protocol[M_co]):
    """The interface of ``nn.ModuleList`` for layers of one kind."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[M_co]: ...

    def __getitem__(self, index: int) -> M_co: ...


class NamedLayers(Protocol[M_co]):
    """The interface of ``nn.ModuleDict`` for layers of one kind."""

    def __contains__(self, name: str) -> bool: ...

    def __getitem__(self, name: str) -> M_co: ...

    def values(self) -> Iterable[M_co]:
        """Return the layers in the order in which they were added."""


def layer_list(modules: Iterable[M]) -> Layers[M]:
    """Make an ``nn.ModuleList``; PyTorch's own type says only that it holds modules."""
    return cast("Layers[M]", nn.ModuleList(modules))


def layer_dict(modules: Mapping[str, M]) -> NamedLayers[M]:
    """Make an ``nn.ModuleDict``, likewise."""
    return cast("NamedLayers[M]", nn.ModuleDict(dict(modules)))
