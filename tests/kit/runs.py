"""Short ways to store runs that nobody trained, and to ask where runs stand."""

from __future__ import annotations

from vaebench.protocol.signature import signature
from vaebench.results.standing import record
from vaebench.results.stats import Measure
from vaebench.results.store import Store
from vaebench.running.execute import Asked, unfinished

TINY = (
    *(
        "table=nvil_mnist",
        "preset=quick",
        "--only",
        "SBN 200",
        "--only",
        "column=NVIL",
        "--seeds",
        "0",
    ),
    *(
        "model.dims=[3]",
        "train.updates=4",
        "train.valid_every=2",
        "eval.iw_samples=3",
        "eval.bound_samples=2",
    ),
    *("run.jobs=1", "run.engine=plain"),
)
"""Arguments of a run of four updates on embedded data."""

FEW = ("train.updates=20", "train.valid_every=10", "run.engine=plain", "eval.iw_samples=20")
"""Settings that make a run short."""


def status(store, cell, seed):
    """Where a run stands."""
    return record(store, cell, seed).status


def put_result(store, cell, seed, status="done", names=("bound", "kl", "active_units", "iw_nll")):
    """Store the result of a run that nobody trained: measures of these names, all of value 1, with
    the signatures that the cell asks for."""

    def measure(name):
        samples = cell.config["eval"]["iw_samples" if name == "iw_nll" else "bound_samples"]
        return Measure(
            name, 1.0, "nats", signature=signature(cell.config, name, samples, "ab" * 32)
        ).to_dict()

    store.write_result(
        cell.key, seed, {"status": status, "measures": list(map(measure, names)), "reason": "why"}
    )


def pending(store, cells, seeds, force=False):
    """Each distinct cell with the seeds that are not finished."""
    runs = [Asked(cell, seed, record(store, cell, seed)) for cell in cells for seed in seeds]
    return unfinished(runs, force)


def store_run(root, cell, seed, value, status="done"):
    """Store the result of a run that nobody trained, with its bound alone."""
    protocol = signature(cell.config, "bound", cell.config["eval"]["bound_samples"], "8f3a12cd")
    measure = Measure("bound", value, "nats", 0.1, "monte carlo", 10_000, 10, protocol)
    result = {
        "schema": 1,
        "status": status,
        "updates": 2000,
        "seconds": 3.0,
        "measures": [measure.to_dict()],
    }
    Store(root).write_result(cell.key, seed, result)
