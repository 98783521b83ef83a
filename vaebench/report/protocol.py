"""Parts in which the protocol of a measured number differs from the paper's."""

from __future__ import annotations

from collections.abc import Iterable

from vaebench.protocol.protocol import Protocol

WORDS = {
    "data": "data",
    "split": "split",
    "points": "test cases",
    "samples": "samples per case",
    "batch": "cases of a batch",
    "members": "members of the ensemble",
    "likelihood": "likelihood",
    "orders": "orders per case",
    "svi": "steps of refinement",
    "svi_batch": "cases refined together",
    "precision": "products in",
    "logz": "log Z",
    "posterior": "log Z of the posteriors",
}
"""Part of a protocol -> what a reader calls it."""

ABSENT = {"svi": "none", "likelihood": "bernoulli", "precision": "float32"}
"""The meaning of a missing part, if it is known."""


def differing(ours: Protocol, papers: Protocol) -> str:
    """Return the parts of a protocol that are not the paper's, in words; '' if there are none.

    For example ``data digits, not mnist_static; test cases 100, not all; log Z ais-1000x512, not
    ais-10000x1024``. A part that one of the two lacks is no difference, except for those in
    ``ABSENT``.
    """
    if not papers:
        return ""

    # The hash in the part of the data changes with what was read, so only its name is compared.
    our_parts = {**ABSENT, **ours.parts, "data": ours.data}
    papers_parts = {**ABSENT, **papers.parts, "data": papers.data}

    words = WORDS | ({"points": "training cases"} if papers_parts.get("split") == "train" else {})
    return "; ".join(
        f"{word} {our_parts[part]}, not {papers_parts[part]}"
        for part, word in words.items()
        if our_parts.get(part) and papers_parts.get(part) and our_parts[part] != papers_parts[part]
    )


def unlike(protocols: Iterable[str]) -> str:
    """Return the parts in which protocols differ: ``data:a against data:b``.

    The first protocol is compared with the next one that is different. '' if all are equal.
    """
    # Each protocol once, so every other one is different from the first.
    first, *others = map(Protocol, dict.fromkeys(protocols) or [""])
    for different in others:
        parts_of_two = first.parts, different.parts
        names = [
            name
            for name in dict.fromkeys([*parts_of_two[0], *parts_of_two[1]])
            if parts_of_two[0].get(name) != parts_of_two[1].get(name)
        ]
        values = [
            [f"{name}:{parts.get(name, '(none)')}" for parts in parts_of_two] for name in names
        ]
        return "; ".join(" against ".join(value_pair) for value_pair in values)
    return ""
