"""``vaebench export RUN --output FOLDER``: a trained model for use without vaebench."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from vaebench.errors import UserError
from vaebench.verbs import one_run

HELP = (
    "Write a trained model for use without vaebench: its parameters and settings, model.pt, and "
    "programs of PyTorch,\n"
    "such as encoder.pt2 and decoder.pt2; see docs/python.md, Export. --only parameters leaves "
    "the programs out."
)

PARTS = ("parameters", "programs")


def configure(parser: ArgumentParser) -> None:
    one_run.add_run(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="write there")
    parser.add_argument("--only", metavar="PART", help=f"{' or '.join(PARTS)}; default: both")


def run(args: Namespace) -> int:
    if args.output.exists() and not args.output.is_dir():
        raise UserError(f"--output {args.output}: not a folder")
    if args.only not in (None, *PARTS):
        raise UserError(f"--only {args.only}: allowed: {', '.join(PARTS)}")

    folder = one_run.folder_of(args)

    # torch is loaded only when nothing is wrong with the arguments.
    from vaebench.evaluation import exported, programs, trained_run

    trained = trained_run.load(folder)

    written: list[Path] = []
    if args.only != "parameters":
        written += programs.write(trained.model, programs.examples(trained), args.output).values()
    if args.only != "programs":
        written.insert(0, args.output / "model.pt")
        exported.write(written[0], trained, folder)
    for path in written:
        print(f"vaebench: wrote {path}", file=sys.stderr)
    return 0
