"""Leaderboards: each has one kind of number."""

from __future__ import annotations

import re

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


def test_a_board_has_the_name_of_its_data_without_their_hash(folder):
    """In the heading, in the label of its region and in the caption that is read aloud."""
    page = (folder / "leaderboard.html").read_text()

    headings = re.findall(r"<h2>(.*?): (.*?)</h2>", page)
    labels = re.findall(r'role="region" aria-label="([^,"]*), (.*?)"', page)
    captions = re.findall(r">Models on (\S+) by (.*?)</caption>", page)

    assert len(headings) > 2
    assert headings == labels == captions
    assert "@" not in page
