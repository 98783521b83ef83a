"""``vaebench check``: the estimators compared with exact enumeration on tiny models.

The check is made on this machine and on the chosen device.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from vaebench.settings.records import KINDS
from vaebench.verbs import add_overrides, only_keys

HELP = (
    "Hold gradient estimators, bounds and samplers against exact enumeration on tiny "
    "models; under a minute."
)


def configure(parser: ArgumentParser) -> None:
    add_overrides(
        parser,
        "run.device=cpu|cuda: where to check; default: the GPU if there is one",
        ["run.device"],
    )
    parser.add_argument("--bad", action="store_true", help="print only the lines that fail")


def run(args: Namespace) -> int:
    value_of = only_keys(args.overrides, ["run.device"], "check")
    device_name = KINDS["run.device"].check("run.device", value_of.get("run.device", "auto"))
    import torch

    from vaebench.check import checks as check
    from vaebench.check.line import COORDINATE_LIMIT, LIMIT
    from vaebench.running.device import pick_device

    device = pick_device(device_name)
    torch.set_num_threads(1)

    name_width = 62
    print(
        f"{'on ' + str(device):{name_width}}  {'exact':>11}  {'estimate':>11}  "
        f"{'std. error':>10}  {'z':>6}  worst"
    )

    # Lines are printed as they are measured: the whole check takes up to a minute.
    differing = count = 0
    for line in check.run(device):
        count += 1
        differing += not line.ok
        if not args.bad or not line.ok:
            error = f"{line.error:10.5f}" if line.error else f"{'exact':>10}"
            worst = f"{line.worst:5.2f}" if len(line.coordinates) else ""
            mark = "" if line.ok else "  FAIL"
            row = (
                f"{line.name:{name_width}}  {line.exact:11.5f}  {line.estimate:11.5f}  {error}  "
                f"{line.z:6.2f}  {worst}{mark}"
            )
            print(row.rstrip(), flush=True)

    print(
        f"{count - differing} of {count} agree: |z| at most {LIMIT}; worst: of a gradient's "
        "coordinates, at most"
    )
    print(
        f"{COORDINATE_LIMIT}. A gradient's own line is its projection on the exact one, "
        "whose length is 'exact'."
    )
    if differing:
        print(f"vaebench: {differing} estimates differ from the exact values", file=sys.stderr)
    return 1 if differing else 0
