"""``vaebench reconstruct RUN < file``: cases through the posterior of a trained model and back."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.errors import UserError
from vaebench.verbs import generated, pictured

if TYPE_CHECKING:
    from vaebench.evaluation.generation import Decoding
    from vaebench.evaluation.trained_run import Trained

HELP = (
    "Read cases from standard input, one a line, and write what the model makes of their codes, one a line:\n"
    "documents as words, images as zeros and ones. Words that the model does not know are read as <unk>.\n"
    "With --test the cases are of the test set: images beside their originals in one grid, drawn to\n"
    "reconstructions.png unless --output says where; documents a line each, behind their originals and a tab."
)

PICTURE = Path("reconstructions.png")
"""Where images of the test set are drawn if nothing else is said."""


def configure(parser: ArgumentParser) -> None:
    generated.add_run(parser)
    parser.add_argument("--test", type=int, metavar="N", help="N cases of the test set, spread evenly over it")
    parser.add_argument(
        "--code", metavar="CODE", help="mean (default of documents) or sample (default of images) of q(z|x)"
    )
    parser.add_argument(
        "--path", type=int, metavar="N", help="of documents: N codes from each to the next, both ends included"
    )
    generated.add_decoding(parser, "greedy")


def run(args: Namespace) -> int:
    if args.code not in (None, "mean", "sample"):
        raise UserError(f"--code {args.code}: allowed: mean, sample")
    if args.path is not None:
        generated.check_number("--path", args.path, 2)
    if args.test is not None:
        generated.check_number("--test", args.test)
        pictured.check_room(f"--test {args.test}", 2 * args.test, args.output or PICTURE)
        if args.path is not None:
            raise UserError("--path: of documents from standard input, without --test")
    decoding = generated.decoding(args, "greedy")
    trained = generated.trained(args)
    if trained.splits.tokens:
        _documents(args, trained, decoding(trained))
    else:
        generated.no_documents(trained, args, generated.OF_DOCUMENTS)
        _images(args, trained)
    return 0


def _images(args: Namespace, trained: Trained) -> None:
    from vaebench.evaluation import generation
    from vaebench.evaluation.lines import lines_of, read_images

    if args.test is None:
        x = read_images(lines_of(sys.stdin.buffer), trained)
    else:
        x = generated.of_test_set(trained, args.test)
    again = generation.images_again(trained.model, x, args.seed, args.code == "mean")
    if args.test is None:
        pictured.show(again, trained, args.output)
    else:
        pictured.show_pairs(x, again, trained, args.output or PICTURE)


def _documents(args: Namespace, trained: Trained, decoding: Decoding) -> None:
    import torch

    from vaebench.evaluation import generation
    from vaebench.evaluation.lines import lines_of, read_documents
    from vaebench.models.text_generation import path

    if args.test is None:
        x = read_documents(lines_of(sys.stdin.buffer), trained)
    else:
        x = generated.of_test_set(trained, args.test)
    z = generation.codes(trained.model, x, args.seed, args.code != "sample")
    if args.path is not None:
        if len(z) < 2:
            raise UserError("--path: needs two documents at least")
        z = torch.cat([path(a, b, args.path) for a, b in pairwise(z)])
    found = decoding.documents(trained.model, z, len(z), args.seed)
    generated.show_documents(found, trained, args.output, None if args.test is None else x)
