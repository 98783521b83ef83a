"""Random orders and uniforms as a function of a seed and a place: noise of any length.

Noise is declared in fixed shapes before a batch is seen, but the number of words of a document is
not known then. So the noise of a document is two uniforms. They make the seed of a counter-based
generator, whose number at place t is a hash of (seed, t). The hash is that of SplitMix64 (Steele,
Lea & Flood 2014) on the 64-bit integers of tensors, which wrap.
"""

from __future__ import annotations

import torch
from torch import Tensor

DIGITS = 24
"""Significant bits of a float32 uniform."""

GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15
FIRST = -4658895280553007687  # 0xBF58476D1CE4E5B9
SECOND = -7723592293110705685  # 0x94D049BB133111EB


def seeds_of(uniforms: Tensor) -> Tensor:
    """Make seeds (...,) int64 below 2^48 from uniforms (..., 2) on (0, 1)."""
    # One float32 uniform has only 24 bits: among ten thousand documents, two would probably get the
    # same seed. Two uniforms have 48 bits together.
    high, low = (uniforms * 2.0**DIGITS).to(torch.int64).unbind(-1)
    return (high << DIGITS) | low


def hashed(seed: Tensor, place: Tensor) -> Tensor:
    """Hash each seed and place to a number of all 64 bits, int64; the two broadcast."""
    # SplitMix64 adds GOLDEN to its state for every number: this is its number at ``place``. The
    # seed is mixed first, so that neighbouring seeds begin far apart.
    v = _mixed(seed) + (place + 1) * GOLDEN
    return _mixed(v)


def uniforms(seed: Tensor, place: Tensor) -> Tensor:
    """Return a number on (0, 1), float32, for each seed and place.

    The numbers are odd multiples of 2^-24, which a float holds exactly.
    """
    # The upper 23 bits k of a hash, as (k + 1/2) 2^-23.
    high = _shifted(hashed(seed, place), 64 - DIGITS + 1)
    return (high.to(torch.float32) + 0.5) * 2.0 ** (1 - DIGITS)


def shuffled(group: Tensor, seed: Tensor) -> Tensor:
    """Return positions (n,) that put the members of each group in a random order.

    The groups stay one after the other.

    Args:
        group: The group of every member, (n,) int64, ascending.
        seed: The seed of every group, (groups,) int64. The order of a group depends only on its
            seed and its size.
    """
    # A random key for each member, by its place within its group. Sorted by key, then by group: the
    # second sort is stable, so it keeps the random order within a group.
    place = torch.arange(len(group), device=group.device) - first_of(group, len(seed))[group]
    by_key = torch.argsort(hashed(seed[group], place))
    return by_key[torch.argsort(group[by_key], stable=True)]


def first_of(group: Tensor, groups: int) -> Tensor:
    """Return where each group begins, (groups,), in the ascending ``group`` (n,)."""
    return torch.searchsorted(group.contiguous(), torch.arange(groups, device=group.device))


def _mixed(v: Tensor) -> Tensor:
    """Return ``v`` after one mixing of SplitMix64."""
    v = (v ^ _shifted(v, 30)) * FIRST
    v = (v ^ _shifted(v, 27)) * SECOND
    return v ^ _shifted(v, 31)


def _shifted(v: Tensor, bits: int) -> Tensor:
    """Shift to the right as if there were no sign."""
    # A shift of a negative int64 fills in ones, which the mask removes.
    return (v >> bits) & ((1 << (64 - bits)) - 1)
