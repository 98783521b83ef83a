"""Which rows an update sees."""

from __future__ import annotations

import pytest
import torch

from vaebench.nn.tokens import groups, lengths_of
from vaebench.training.batches import Batches

LENGTHS = torch.tensor([5, 3, 5, 4, 3, 5, 5, 4, 5, 3])


def rows(parts):
    return [p.tolist() for p in parts]


def test_documents_of_one_length_share_a_batch():
    assert rows(groups(LENGTHS, 2)) == [[1, 4], [9], [3, 7], [0, 2], [5, 6], [8]]
    assert rows(groups(LENGTHS, 100)) == [[1, 4, 9], [3, 7], [0, 2, 5, 6, 8]]


def test_buckets_are_full_and_of_neighbouring_lengths():
    assert rows(groups(LENGTHS, 4, exact=False)) == [[1, 4, 9, 3], [7, 0, 2, 5], [6, 8]]


def test_lengths():
    assert lengths_of(torch.tensor([[1, 7, 2, 0], [1, 2, 0, 0], [1, 7, 7, 2]])).tolist() == [
        3,
        2,
        4,
    ]


@pytest.mark.parametrize("order", ["lengths", "buckets"])
def test_a_pass_has_every_fixed_batch_once_in_an_order_of_its_own(order):
    batches = Batches(10, 2, order, LENGTHS)
    fixed = {tuple(t) for t in batches.fixed.tolist()}
    assert batches.per_epoch == len(fixed) == {"lengths": 6, "buckets": 5}[order]

    # Blocks of 4 do not meet the ends of passes, which have 5 or 6 batches.
    seen = torch.cat([batches.block([3, 4], i, 4) for i in range(6)])
    assert seen.shape == (24, 2, 2)

    for r in range(2):
        passes = [
            [
                tuple(t)
                for t in seen[e * batches.per_epoch : (e + 1) * batches.per_epoch, r].tolist()
            ]
            for e in range(4)
        ]
        assert all(set(p) == fixed and len(p) == batches.per_epoch for p in passes)
        assert len({tuple(p) for p in passes}) > 1

    # The two seeds have different orders.
    assert not torch.equal(seen[:, 0], seen[:, 1])
    # A seed alone has the same order as beside others.
    assert torch.equal(seen[:, 1:], torch.cat([batches.block([4], i, 4) for i in range(6)]))


@pytest.mark.parametrize("order", ["replacement", "shuffle"])
def test_other_orders_are_as_before(order):
    from vaebench.rng import noise

    batches = Batches(10, 3, order)

    # Without fixed batches the rows are those of ``noise.order_block``.
    assert torch.equal(batches.block([1, 2], 5, 7), noise.order_block(10, 3, order, [1, 2], 5, 7))
    assert batches.per_epoch == 4


@pytest.mark.parametrize(
    ("order", "kinds"), [("lengths", 6), ("buckets", 5), ("replacement", None)]
)
def test_extra_batches_are_uniform_and_a_function_of_their_place(order, kinds):
    batches = Batches(10, 2, order, LENGTHS)
    assert torch.equal(batches.any(1, 2, 3), batches.any(1, 2, 3))

    # 600 draws: 30 updates with 20 places each.
    drawn = [tuple(batches.any(0, u, n).tolist()) for u in range(30) for n in range(20)]
    assert len(set(drawn)) > 3

    # Only fixed batches are few enough to be counted.
    if kinds:
        counts = torch.tensor([drawn.count(k) for k in {tuple(t) for t in batches.fixed.tolist()}])
        expected = 600 / kinds
        # Chi-square with at most 5 degrees of freedom: above 30 with probability below 2e-5.
        assert int(counts.sum()) == 600
        assert float(((counts - expected) ** 2 / expected).sum()) < 30

    # Seeds draw different batches at the same place.
    assert len({tuple(batches.any(s, 0, 0).tolist()) for s in range(40)}) > 3


def test_fixed_batches_need_lengths():
    with pytest.raises(ValueError, match="lengths of documents"):
        Batches(10, 2, "lengths")
