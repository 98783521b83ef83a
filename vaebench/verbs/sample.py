"""``vaebench sample RUN``: cases that a trained model makes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vaebench.verbs import generated

HELP = (
    "Draw cases from a trained model: documents one a line, images as zeros and ones, or drawn to a file.\n"
    "A Boltzmann prior is sampled by 10,000 Gibbs sweeps."
)


def configure(parser: ArgumentParser) -> None:
    generated.add_run(parser)
    parser.add_argument("--number", type=int, default=10, metavar="N", help="how many; default 10")
    generated.add_decoding(parser, "sample")


def run(args: Namespace) -> int:
    generated.check_number("--number", args.number, most=1_000_000)
    decoding = generated.decoding(args, "sample")
    trained = generated.trained(args)
    from vaebench.evaluation import generation

    if trained.splits.tokens:
        found = generation.drawn(trained.model, args.number, args.seed, decoding(trained))
        generated.show_documents(found, trained, args.output)
    else:
        generated.no_documents(trained, args, ("how", "width", "longest"))
        generated.show_images(generation.drawn_images(trained.model, args.number, args.seed), trained, args.output)
    return 0
