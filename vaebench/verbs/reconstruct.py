"""``vaebench reconstruct RUN < file``: cases through the posterior of a trained model and back."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from itertools import pairwise

from vaebench.errors import UserError
from vaebench.verbs import generated

HELP = (
    "Read cases from standard input, one a line, and write what the model makes of their codes, one a line:\n"
    "documents as words, images as zeros and ones. Words that the model does not know are read as <unk>."
)


def configure(parser: ArgumentParser) -> None:
    generated.add_run(parser)
    parser.add_argument("--code", metavar="CODE", help="of documents: mean (default) or sample of q(z|x)")
    parser.add_argument(
        "--path", type=int, metavar="N", help="of documents: N codes from each to the next, both ends included"
    )
    generated.add_decoding(parser, "greedy")


def run(args: Namespace) -> int:
    if args.code not in (None, "mean", "sample"):
        raise UserError(f"--code {args.code}: allowed: mean, sample")
    if args.path is not None:
        generated.check_number("--path", args.path, 2)
    decoding = generated.decoding(args, "greedy")
    trained = generated.trained(args)
    import torch

    from vaebench.evaluation import generation
    from vaebench.evaluation.lines import lines_of, read_documents, read_images
    from vaebench.models.text_generation import path

    lines = lines_of(sys.stdin.buffer)
    if not trained.splits.tokens:
        generated.no_documents(trained, args, ("code", "path", "how", "width", "longest"))
        x = read_images(lines, trained)
        generated.show_images(generation.images_again(trained.model, x, args.seed), trained, args.output)
        return 0
    x = read_documents(lines, trained)
    z = generation.codes(trained.model, x, args.seed, args.code != "sample")
    if args.path is not None:
        if len(z) < 2:
            raise UserError("--path: needs two documents at least")
        z = torch.cat([path(a, b, args.path) for a, b in pairwise(z)])
    found = decoding(trained).documents(trained.model, z, len(z), args.seed)
    generated.show_documents(found, trained, args.output)
    return 0
