"""Give the runs in results/reference/*.csv their present keys.

python scripts/rekey_reference.py [--conf FOLDER ...]

A CSV holds the key of a run and not its settings. So the script composes every cell of every table,
makes its key by the earlier rules, with the earlier names, and replaces that key by the present
one. ``--conf`` names more folders of configuration, such as that of an earlier checkout, for runs
whose table has changed since. A key that no cell explains stays and is reported. Running the script
again changes nothing.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vaebench.config import catalogue, compose
from vaebench.config.cells import GROUPS, IDENTITY, VERSION, canonical, identity, run_key, versions
from vaebench.files import write_atomic
from vaebench.settings.renamed import RENAMED, with_present_names

REFERENCE = Path(__file__).resolve().parent.parent / "results" / "reference"

LATER: dict[str, dict[str, Any]] = {
    "train": {"unit": "updates", "snapshots": [], "cases": None},
    "data": {"entries": None},
    "objective": {"mi_of": "batches"},
}
"""Settings that came while the first rule was in use. It left them out of a key if they had these
values."""

BELIEF_NET = "dims posterior init init_scale"
RELAXED = (
    "beta samples warmup weight_decay prior_chains prior_sweeps prior_sampler "
    "valid_temperatures valid_chains"
)
SWEEPS = "discrete_sweeps relaxed_sweeps relaxation"
KL = "samples kl_weight kl_start kl_warmup kl_unit kl_slope"
TEXT = (
    "embedding units dropout_in dropout_out frozen_last_row init init_scale "
    "init_center embedding_scale "
)
TEXT += "embedding_center"
ENCODED = "latents groups layers units context momentum init init_scale"

SETTINGS: dict[str, dict[str, str]] = {
    "data": dict.fromkeys(("yahoo", "yahoo_small", "yelp"), "held_out held_out_seed entries")
    | {"text": "labels content held_out held_out_seed entries"},
    "model": {
        **dict.fromkeys(("darn", "fdarn", "sbn"), BELIEF_NET),
        "linear_gaussian": "dims init init_scale",
        **dict.fromkeys(
            ("rbm_generator", "rbm_posterior"), "latents layers units momentum init init_scale"
        ),
        "rbm_target": "side components mixture weights low init init_scale",
        **dict.fromkeys(("rbm_vae", "rbm_vae_gaussian"), ENCODED),
        "text_lm": TEXT,
        "text_vae": f"latents {TEXT}",
    },
    "objective": {
        "aggressive": (
            f"{KL} inner_window inner_most inner_strict inner_fixed mi_start mi_falls mi_best mi_of"
        ),
        "bit_gibbs": "sweeps weight_decay statistics",
        "dvae": RELAXED,
        "dvaepp": f"smoothing {RELAXED}",
        "dvaes": f"smoothing estimator {RELAXED}",
        "dvaes_gaussian": f"refresh estimator {RELAXED}",
        "dvaess": f"{SWEEPS} rao_blackwell valid_points posterior_temperatures {RELAXED}",
        "gumbolt": f"estimator {RELAXED}",
        "iw_bound": "samples reduce",
        "likelihood": "",
        "nvil": (
            "local_signals constant_baseline input_baseline variance_normalization "
            "baseline_units decay reduce"
        ),
        "pwl": f"stop_slope estimator {RELAXED}",
        "rbm_kl": f"{SWEEPS} beta rao_blackwell gradient",
        "vae": KL,
        "wake_sleep": "reduce",
    },
    "optim": {
        "adam": "rate posterior_rate beta1 beta2 epsilon schedule",
        "clipped_sgd": "rate posterior_rate clip patience first factor decays reload",
        "sgd": "rate posterior_rate baseline_rate",
    },
}
"""Settings that options had under the first rule, by the names that they had then. Data sets that
are not listed had two, ``held_out`` and ``held_out_seed``."""

TRAINING = "updates unit batch order valid_every valid_samples snapshots cases patience select"


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(content).encode()).hexdigest()[:10]


def first_rule(config: dict[str, Any]) -> str:
    """Return the end of a key by the first rule: a hash of all settings that there were then."""
    parts: dict[str, Any] = {"recipe": config["recipe"]}
    for section in IDENTITY:
        settings = config[section]
        if section == "train":
            names = TRAINING
        else:
            names = "name " + SETTINGS[section].get(settings["name"], "held_out held_out_seed")

        # Only settings that there were then; of those that came later, only unusual values.
        kept = {k: v for k, v in settings.items() if k in names.split()}
        later = LATER.get(section, {})
        parts[section] = {k: v for k, v in kept.items() if k not in later or v != later[k]}
        if settings.get(VERSION, 1) != 1:
            parts[section][VERSION] = settings[VERSION]
    return _digest(parts)


def with_earlier_names(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with the names that its options had before."""
    out = dict(config)
    for group in GROUPS:
        earlier_name = {present: before for before, present in RENAMED.get(group, {}).items()}
        name = config[group]["name"]
        out[group] = {**config[group], "name": earlier_name.get(name, name)}
    return out


def composed(known: dict[str, list[str]]) -> Iterator[dict[str, Any]]:
    """Yield the configuration of every cell of every table at every preset.

    ``known`` has the present options of each group.
    """
    for name in catalogue.options("table"):
        for preset in catalogue.presets_of(catalogue.load(name)):
            for cell in compose.cells(catalogue.load_table(name), catalogue.load_preset(preset)):
                yield with_present_names(cell.config, known)


def known_keys(folders: list[Path]) -> dict[str, str]:
    """Map the last part of every key by an earlier rule to the present key of the same training."""
    present_key_of: dict[str, str] = {}
    shipped_conf = catalogue.conf_dir
    present_options = {group: catalogue.options(group) for group in GROUPS}
    # The catalogue reads another folder's tables if its ``conf_dir`` is replaced. The shipped
    # folder comes first: what it explains, an older checkout must not explain otherwise.
    try:
        for folder in (shipped_conf(), *folders):
            catalogue.conf_dir = lambda folder=folder: folder
            for config in composed(present_options):
                # Each version of the options has a key of its own, which its runs keep.
                for old in versions(config):
                    present = run_key(old)
                    earlier = with_earlier_names(old)
                    for digest in (first_rule(earlier), _second_rule(earlier, old)):
                        present_key_of.setdefault(digest, present)
                    present_key_of.setdefault(present.rpartition("-")[2], present)
    finally:
        catalogue.conf_dir = shipped_conf
    return present_key_of


def _second_rule(earlier: dict[str, Any], present: dict[str, Any]) -> str:
    """Return the end of a key by the present rule, with the earlier names of the options."""
    content = identity(present)
    return _digest(
        {k: {**v, "name": earlier[k]["name"]} if k in GROUPS else v for k, v in content.items()}
    )


def rekey(path: Path, keys: dict[str, str]) -> tuple[int, set[str]]:
    """Write the present keys into one results CSV, which is replaced whole.

    Returns the number of runs that got another key, and the keys that nothing explains.
    """
    text = path.read_text(encoding="utf-8")
    header, *lines = list(csv.reader(io.StringIO(text)))
    if "key" not in header:
        return 0, set()
    key_column = header.index("key")

    changed_keys = set()
    unknown = set()
    # The hash at the end of a key decides; the readable part before it may have changed.
    for line in lines:
        key = line[key_column]
        present_key = keys.get(key.rpartition("-")[2])
        if present_key is None:
            unknown.add(key)
        elif present_key != key:
            changed_keys.add(key)
            line[key_column] = present_key

    if changed_keys:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([header, *lines])
        write_atomic(path, out.getvalue())
    return len(changed_keys), unknown


def main() -> int:
    """Rekey every results CSV of the folder. Returns 1 if a key stayed unexplained."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--conf", nargs="+", type=lambda text: Path(text).resolve(), default=[], metavar="FOLDER"
    )
    args = parser.parse_args()
    keys = known_keys(args.conf)
    unexplained = 0
    for path in sorted(REFERENCE.glob("*.csv")):
        changed, unknown = rekey(path, keys)
        if changed:
            print(f"{path.name}: {changed} runs have another key")
        for key in sorted(unknown):
            print(f"{path.name}: {key}: no cell of a table is trained so; it stays")
        unexplained += len(unknown)
    return 1 if unexplained else 0


if __name__ == "__main__":
    raise SystemExit(main())
