"""``vaebench compare A.csv B.csv``: do two sets of results agree?"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

HELP = "Compare two results files row by row. Exits with 1 if a row differs or is in one file only."


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("a", metavar="A.csv", help="a file written by: vaebench report --format csv")
    parser.add_argument("b", metavar="B.csv", help="another one")
    parser.add_argument(
        "--tol",
        type=float,
        metavar="NATS",
        help="largest difference that agrees; default: three standard errors, and for one seed at least the margin",
    )
    parser.add_argument("--ignore-protocol", action="store_true", help="compare even numbers of unlike protocols")


def run(args: Namespace) -> int:
    from vaebench.report import compare
    from vaebench.store import read_csv

    result = compare.compare(read_csv(args.a), read_csv(args.b), args.tol, args.ignore_protocol)
    sys.stdout.write(compare.render(result))
    return int(result.differs)
