"""``vaebench compare A.csv B.csv``: whether two sets of results agree."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from vaebench.errors import UserError
from vaebench.settings import options
from vaebench.verbs import add_option, streams

HELP = (
    "Compare two results files row by row. Exits with 1 if a row differs or is in one file only.\n"
    "Two files of cases (eval RUN --cases FILE.csv) are compared case by case, which sees far "
    "smaller\n"
    "differences of two models."
)


def configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "a", metavar="A.csv", help="a file written by: vaebench report --format csv"
    )
    parser.add_argument(
        "b", metavar="B.csv", help="another one, or the word reference: the results vaebench ships"
    )
    tol_help = (
        "largest difference that agrees; default: the 99.7%% interval, and for one "
        "seed at least the margin"
    )
    add_option(parser, "--tol", options.TOLERANCE, metavar="NATS", help=tol_help)
    parser.add_argument(
        "--only", action="append", default=[], metavar="row=NAME", help="these rows or columns only"
    )
    parser.add_argument(
        "--common",
        action="store_true",
        help="leave out what is in one file only, instead of failing",
    )
    parser.add_argument(
        "--ignore-protocol", action="store_true", help="compare even numbers of unlike protocols"
    )


def run(args: Namespace) -> int:
    from vaebench.report import compare, paired, recorded

    # A file of cases has one number for each example. It only compares with another such file.
    are_of_cases = [paired.is_of_cases(path) for path in (args.a, args.b)]
    if any(are_of_cases) and not all(are_of_cases):
        cases_file, other_file = (args.a, args.b) if are_of_cases[0] else (args.b, args.a)
        if not Path(other_file).exists():
            raise UserError(
                f"{other_file}: no such file; vaebench eval RUN --cases FILE.csv writes "
                f"one like {cases_file}"
            )
        raise UserError(
            f"{other_file}: not a file of cases, which {cases_file} is; vaebench eval RUN "
            "--cases FILE.csv writes one"
        )

    if all(are_of_cases):
        for option, is_given in (
            ("--tol", args.tol is not None),
            ("--only", args.only),
            ("--common", args.common),
        ):
            if is_given:
                raise UserError(
                    f"{option}: for results files; files of cases are compared as a whole"
                )
        pairs = paired.compare(args.a, args.b)
        sys.stdout.write(paired.render(pairs, streams.width()))
        return int(any(pair.differs for pair in pairs.lines))

    sides = recorded.read_pair(args.a, args.b)
    if args.only:
        sides = recorded.narrowed_alike(sides, args.only)

    a, b = sides
    result = compare.compare(a, b, args.tol, args.ignore_protocol, args.common)
    sys.stdout.write(compare.render(result, streams.width()))
    return int(result.differs)
