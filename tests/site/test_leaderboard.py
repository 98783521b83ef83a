"""Leaderboards: each has one kind of number."""

from __future__ import annotations

from vaebench.config import catalogue
from vaebench.site import leaderboard, sources


def test_a_board_has_one_kind_of_number_and_each_model_once():
    results = [
        sources.of_files(catalogue.load(name), ["reference"])
        for name in ("nvil_mnist", "nvil_recipe")
    ]

    boards = leaderboard.boards(results)

    kinds = [(board.data, board.kind) for board in boards]
    assert len(kinds) == len(set(kinds)) > 2

    for board in boards:
        assert len({place.key for place in board.places}) == len(board.places)
        means = [place.number.mean for place in board.places]
        assert means == sorted(means)

    bounds = [
        b for b in boards if b.data.startswith("mnist_static@") and b.kind.startswith("bound,")
    ]
    other_samples = [place.key for b in bounds for place in b.places if "samples 10" not in b.kind]

    assert other_samples
    assert all(
        "-mdl-" in key for key in other_samples
    )  # deterministic codes, of which one sample is exact

    assert not any(b.kind.startswith(("kl", "active")) for b in boards)
