"""The settings of ``data``, ``train``, ``eval`` and ``run``.

Each is declared once, with its type and its range. Their default values are in conf/, in one file
for each option. An option may leave out a key, and a run of an earlier version may lack one. Then
the default given here applies: it is what the code did before the setting existed.

The settings of models, objectives and optimisers are the keyword arguments of their constructors,
which check them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from vaebench.rng.seeds import LARGEST_SEED
from vaebench.settings.kinds import (
    MANY,
    SettingKind,
    choice,
    either,
    flag,
    or_null,
    path,
    several,
    share,
    some,
    whole,
    word,
)

SAMPLES = 1_000_000
"""Most samples, chains, temperatures and sweeps: a thousand times what any paper here uses."""

WIDTH = 100_000
"""Most units of a layer, and most examples of a batch: several times the largest published."""

SEVERAL = 10_000
"""Most seeds in a pack, repeated evaluations and snapshots."""

PROCESSES = max(64, 4 * (os.cpu_count() or 1))
"""Most threads and most jobs. Many more threads than cores hang, but a run made on a larger machine
must still be readable."""

SPLIT = choice("test", "valid", "train")
PRECISION = choice("float32", "bfloat16")
COUNT = whole(1, MANY)
SNAPSHOTS = several(
    whole(0, MANY), SEVERAL, words=f"a list of at most {SEVERAL:,} whole numbers from 0 to {MANY:,}"
)
SBATCH = several(
    word(r"[a-z][a-z-]*(=[^\0\n]*)?"),
    100,
    words="a list of options of sbatch such as [account=NAME]",
)


def _is(kind: SettingKind, default: Any) -> Any:
    """Return a field for a setting: its kind, and its value if the setting is left out."""
    return field(default=default, metadata={"kind": kind})


@dataclass(frozen=True, kw_only=True)
class Section:
    """The settings of one section of a cell's configuration."""

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> Self:
        """Return the record of a section.

        Keys that the record does not have, such as ``name``, are ignored. A key that is missing or,
        in results of earlier versions, null where nothing allows that, has its default.
        """
        # null is left out like a missing key. Where null is allowed, it is the default as well.
        present = {f.name: section[f.name] for f in fields(cls) if f.name in section}
        return cls(**{k: v for k, v in present.items() if v is not None})


@dataclass(frozen=True, kw_only=True)
class DataSettings(Section):
    """Where data are, and which of their examples are used for what. See conf/data/."""

    held_out: int | None = _is(or_null(COUNT), None)
    held_out_seed: int = _is(whole(0, LARGEST_SEED), 0)
    entries: int | None = _is(or_null(COUNT), None)
    mirror: str | None = _is(or_null(path("a folder")), None)
    train: str | None = _is(or_null(path("a path")), None)
    valid: str | None = _is(or_null(path("a path")), None)
    test: str | None = _is(or_null(path("a path")), None)
    labels: bool = _is(flag(), False)
    grey: str = _is(choice("dynamic", "threshold"), "dynamic")
    vocabulary: str | None = _is(or_null(path("a path")), None)
    counts: str = _is(choice("raw", "log1p"), "raw")


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Section):
    """How a cell is trained. See conf/cell.yaml."""

    updates: int = _is(COUNT, 2_000_000)
    unit: str = _is(choice("updates", "epochs"), "updates")
    batch: int = _is(whole(1, WIDTH), 20)
    order: str = _is(choice("replacement", "shuffle", "lengths", "buckets"), "replacement")
    valid_every: int = _is(COUNT, 10_000)
    valid_samples: int = _is(whole(1, SAMPLES), 10)
    snapshots: Sequence[int] = _is(SNAPSHOTS, ())
    cases: int | None = _is(or_null(COUNT), None)
    patience: int | None = _is(or_null(COUNT), None)
    select: str = _is(choice("valid_bound", "last"), "valid_bound")
    precision: str = _is(PRECISION, "float32")


@dataclass(frozen=True, kw_only=True)
class EvalSettings(Section):
    """How a trained model is evaluated. See conf/eval/."""

    split: str = _is(SPLIT, "test")
    points: int | None = _is(or_null(COUNT), None)
    bound_samples: int = _is(whole(1, SAMPLES), 10)
    iw_samples: int | None = _is(or_null(whole(1, SAMPLES)), None)
    hmc_samples: int | None = _is(or_null(whole(2, SAMPLES)), None)
    ais_chains: int | None = _is(or_null(whole(2, SAMPLES)), None)
    ais_temperatures: int = _is(whole(1, SAMPLES), 1000)
    imputation: str | None = _is(or_null(choice("random", "square")), None)
    missing: float = _is(share(), 0.6)
    imputation_steps: int = _is(whole(1, SAMPLES), 15)
    imputation_chains: int = _is(whole(2, SAMPLES), 10)
    logz_method: str = _is(choice("auto", "exact", "ais", "tempering"), "auto")
    logz_temperatures: int = _is(whole(1, SAMPLES), 10_000)
    logz_chains: int = _is(whole(2, SAMPLES), 1024)
    logz_sweeps: int = _is(whole(1, SAMPLES), 10_000)
    logz_base: str = _is(choice("uniform", "base_rate"), "uniform")
    logz_spacing: str = _is(choice("even", "late"), "even")
    posterior_temperatures: int = _is(whole(1, SAMPLES), 500)
    mi_batch: int = _is(whole(2, WIDTH), 32)
    orders: int = _is(whole(1, SEVERAL), 1)
    particles: int | None = _is(or_null(whole(1, SAMPLES)), None)
    members: int = _is(whole(1, SAMPLES), 1)
    means: str = _is(SPLIT, "valid")
    repeats: int = _is(whole(1, SEVERAL), 1)
    precision: str = _is(PRECISION, "float32")


@dataclass(frozen=True, kw_only=True)
class RunSettings(Section):
    """How a cell is carried out; none of this identifies a run. See conf/cell.yaml."""

    device: str = _is(word(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda or cuda:N"), "auto")
    threads: int = _is(whole(1, PROCESSES), 1)
    jobs: str | int = _is(either("auto", whole(1, PROCESSES)), "auto")
    engine: str = _is(choice("auto", "plain", "compiled", "kernel"), "auto")
    pack: int = _is(whole(1, SEVERAL), 8)
    results: str = _is(word(r"[^\0]*[^\0\s][^\0]*", "a folder"), "results/runs")
    track: Sequence[str] = _is(some("jsonl", "tensorboard", "mlflow", "wandb"), ())
    launcher: str = _is(choice("local", "slurm", "ray"), "local")
    parallel: int | None = _is(or_null(whole(1, SEVERAL)), None)
    cpus: int | None = _is(or_null(whole(1, SEVERAL)), None)
    gpus: int | None = _is(or_null(whole(0, SEVERAL)), None)
    memory: int | None = _is(or_null(whole(1, WIDTH)), None)
    partition: str | None = _is(or_null(word(r"[\w.,-]+", "the name of a partition")), None)
    time_limit: int = _is(whole(1, SAMPLES), 240)
    grace: int = _is(whole(1, WIDTH), 120)
    sbatch: Sequence[str] = _is(SBATCH, ())
    address: str | None = _is(
        or_null(word(r"[\w.:/-]+", "an address such as auto or HOST:6379")), None
    )


SECTIONS: dict[str, type[Section]] = {
    "data": DataSettings,
    "train": TrainSettings,
    "eval": EvalSettings,
    "run": RunSettings,
}

KINDS: dict[str, SettingKind] = {
    "recipe": COUNT,
    **{
        f"{name}.{f.name}": f.metadata["kind"]
        for name, section in SECTIONS.items()
        for f in fields(section)
    },
}
"""Dotted key -> what it may be."""
