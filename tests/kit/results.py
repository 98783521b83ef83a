"""A cell on digits and results of it, as they are stored."""

from __future__ import annotations

from vaebench.config.cells import Cell
from vaebench.protocol.signature import signature
from vaebench.results.store import seeds_in


def config(points=None, **changes):
    """Settings of a cell; ``points``: of how many cases it is evaluated."""
    c = {
        "data": {"name": "digits"},
        "model": {"name": "sbn", "dims": [200]},
        "objective": {"name": "nvil"},
        "optim": {"name": "sgd", "rate": 3e-4},
        "train": {"updates": 4000, "select": "valid_bound"},
        "eval": {"split": "test", "points": points, "bound_samples": 10, "iw_samples": 100},
        "recipe": 1,
    }
    return {**c, **changes}


def cell(row="SBN 200", **kwargs):
    """The cell of these settings; further arguments are those of ``Cell``."""
    return Cell("nvil_mnist", row, "NVIL", "quick", kwargs.pop("config", config()), **kwargs)


def measure(name="bound", value=30.5, samples=10, points=None, **kwargs):
    """A measure as it stands in a result."""
    text = signature(config(points), name, samples, "8f3a12cdef")
    base = {
        "name": name,
        "value": value,
        "unit": "nats",
        "error": 0.05,
        "error_kind": "monte carlo",
        "points": 297,
    }
    return {**base, "samples": samples, "signature": text, "extra": {}, **kwargs}


def result(seed=0, **changes):
    """A finished result, with a bound and an importance-weighted NLL."""
    return {
        "schema": 1,
        "status": "done",
        "reason": "",
        "seed": seed,
        "config": config(),
        "updates": 4000,
        "best_update": 3000,
        "seconds": 12.5,
        "pack": 2,
        "device": "cpu (2 threads)",
        "peak_memory_mb": 210.5,
        "versions": {"vaebench": "0.1.0", "torch": "2.13", "python": "3.12", "commit": "abc"},
        "data": {"name": "digits", "hash": "8f3a12cdef", "hashes": {}},
        "measures": [measure(), measure("iw_nll", 29.0, 100, extra={"1": 30.5, "10": 29.5})],
        **changes,
    }


def stored(store):
    """Every result below the root of a store, with its key and seed, sorted by both."""
    folders = sorted(p for p in store.root.iterdir() if p.is_dir())
    runs = [(folder.name, seed) for folder in folders for seed in seeds_in(folder)]
    results = [(key, seed, store.result(key, seed)) for key, seed in runs]
    return [{**result, "key": key, "seed": seed} for key, seed, result in results if result]
