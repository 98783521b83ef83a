"""``vaebench bench``: the speed of each model family: updates per second, or milliseconds where there are few."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vaebench.verbs import add_overrides, only_keys

HELP = "Updates per second of each model family, packed and single; milliseconds of those with Boltzmann priors."


def configure(parser: ArgumentParser) -> None:
    add_overrides(parser, "run.device=cpu|cuda, run.threads=N", ["run.device", "run.threads"])
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="time for each measurement; default 3")
    parser.add_argument("--pack", type=int, default=5, metavar="R", help="seeds packed together; default 5")
    parser.add_argument("--only", metavar="TEXT", help='families with TEXT in their name, as "RBM" or "DVAE#"')


def run(args: Namespace) -> int:
    given = only_keys(args.overrides, ["run.device", "run.threads"], "bench")
    from vaebench.errors import UserError

    threads = given.get("run.threads", "1")
    if not threads.isdigit() or int(threads) < 1:
        raise UserError(f"run.threads={threads}: must be a whole number from 1")
    if args.pack < 1 or not args.seconds > 0:
        raise UserError("--pack must be at least 1 and --seconds above 0")
    import torch

    from vaebench import bench
    from vaebench.session import describe, pick_device

    device = pick_device(given.get("run.device", "auto"))
    torch.set_num_threads(int(threads))
    where = f"{describe(device, int(threads))}, torch {torch.__version__}"
    print(where)
    for line in bench.run(device, args.seconds, args.pack, args.only):
        print(line, flush=True)
    return 0
