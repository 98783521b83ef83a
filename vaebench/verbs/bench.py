"""``vaebench bench``: the speed of each model family.

It is given in updates per second, or in milliseconds for slow ones.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import Any

from vaebench.settings import options
from vaebench.settings.records import KINDS
from vaebench.verbs import add_option, add_overrides, only_keys

HELP = (
    "Updates per second of each model family; milliseconds of an IW-NLL, and of updates "
    "with Boltzmann priors."
)


def configure(parser: ArgumentParser) -> None:
    add_overrides(parser, "run.device=cpu|cuda, run.threads=N", ["run.device", "run.threads"])
    seconds_help = "of a measurement, compiling aside; default 3"
    add_option(parser, "--seconds", options.SECONDS, default=3.0, metavar="S", help=seconds_help)
    pack_help = "seeds packed together; default 5"
    add_option(parser, "--pack", options.PACK, default=5, metavar="R", help=pack_help)
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object with every number, instead of the lines",
    )
    beside_help = (
        "measure plain loops in JAX beside NVIL and beside models with Gaussian "
        "latents (--only latents)"
    )
    parser.add_argument("--with", choices=["jax"], dest="beside", help=beside_help)
    parser.add_argument(
        "--only", metavar="TEXT", help='families with TEXT in their name, as "RBM" or "DVAE#"'
    )


def run(args: Namespace) -> int:
    value_of = only_keys(args.overrides, ["run.device", "run.threads"], "bench")
    device_name = KINDS["run.device"].check("run.device", value_of.get("run.device", "auto"))

    # Text that is no number is passed on, so that the line of the error shows it.
    threads_text = value_of.get("run.threads", "1")
    threads = KINDS["run.threads"].check(
        "run.threads", int(threads_text) if threads_text.isdecimal() else threads_text
    )

    import torch

    from vaebench.bench import sections as bench
    from vaebench.running.device import pick_device
    from vaebench.running.machine import describe

    device = pick_device(device_name)
    torch.set_num_threads(threads)
    where = f"{describe(device, threads)}, torch {torch.__version__}"

    measured: list[dict[str, Any]] = []
    lines = bench.run(
        device, args.seconds, args.pack, args.only, args.beside == "jax", measured.append
    )
    if args.json:
        for _ in lines:  # a generator: it measures as it is read
            pass
        print(json.dumps({"where": where, "measured": measured}, indent=1))
        return 0

    print(where)
    for line in lines:
        print(line, flush=True)
    return 0
