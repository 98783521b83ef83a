"""The order of updates, batches and noise of an aggressive phase, by a recorded trace."""

from __future__ import annotations

import pytest
import torch

from vaebench.data.kinds import Kind
from vaebench.errors import Interrupted
from vaebench.objectives.aggressive import INNER, OUTER, Aggressive
from vaebench.training.batches import Batches
from vaebench.training.inner_loop import inner_updates

LENGTHS = torch.tensor([3, 3, 3, 4, 4])
TOKENS = torch.tensor([[1, 5, 2, 0], [1, 6, 2, 0], [1, 7, 2, 0], [1, 5, 5, 2], [1, 6, 6, 2]])


class Trace:
    """A pack that makes no updates: it notes each call, and returns scripted losses.

    A call is (rows of the batch, its noise, number of the outer update, groups that move).
    """

    def __init__(self, losses, aggressive=1.0):
        self.data = TOKENS
        self.kind = Kind.TOKENS
        self.calls = []
        self.losses = iter(losses)
        self.state = {"aggressive": torch.tensor([aggressive])}

    def seed_state(self, r):
        return {k: v[r] for k, v in self.state.items()}

    def advance(self, index, noise, binarize, first, only):
        assert index.shape[:2] == (1, 1)
        assert binarize is None

        self.calls.append((index[0, 0].tolist(), noise["q1"][0, 0], first, only))
        return {"loss": torch.tensor([next(self.losses)], dtype=torch.float64)}


class Coded(torch.nn.Module):
    """A model with only what the objective asks of it before any step."""

    def posterior_noise(self, k, batch):
        return {"q1": ("normal", (k, batch, 2))}

    def dropout_noise(self, batch, width):
        return {}


def rule(**settings):
    """Build the objective around a model that is never evaluated."""
    return Aggressive(Coded(), **settings)


@pytest.fixture
def go():
    """Function that makes one inner loop: (the calls of its pack, the batches)."""

    def run(losses, update=7, seed=3, aggressive=1.0, stop=lambda: False, **settings):
        batches = Batches(5, 2, "lengths", LENGTHS)
        pack = Trace(losses, aggressive)
        objective = rule(**settings)

        made = inner_updates(pack, objective, batches, seed, update, torch.tensor([0, 1]), stop)

        assert made == len(pack.calls)

        return pack.calls, batches

    return run


def test_the_first_update_is_on_the_batch_in_hand_and_the_others_on_random_ones(go):
    calls, batches = go([1.0] * 4, inner_fixed=4)
    assert [c[0] for c in calls] == [[0, 1], *(batches.any(3, 7, n).tolist() for n in (1, 2, 3))]
    # The clock stands still at the outer update, and with it the weight of the KL.
    assert all(c[2:] == (7, INNER) for c in calls)


def test_every_inner_update_has_noise_of_its_own_that_only_its_place_decides(go):
    first, again, next_update = (go([1.0] * 4, update=u, inner_fixed=4)[0] for u in (7, 7, 8))
    assert all(torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))

    noises = [c[1] for c in first + next_update]

    assert not any(torch.equal(noises[i], noises[j]) for i in range(8) for j in range(i))


def test_losses_are_summed_over_documents_and_compared_by_word(go):
    """Batches have 1 or 2 documents of 2 or 3 predicted words each.

    As long as the loss per word stays the same, the loop does not end, whatever the batches are.
    """
    _, batches = go([1.0], inner_fixed=1)
    rows = [torch.tensor([0, 1]), *(batches.any(3, 7, n) for n in range(1, 12))]

    # Predicted words of one document: its tokens without the first. All documents of a batch are as
    # long.
    words = [float((TOKENS[r[r >= 0]] != 0).sum(1)[0] - 1) for r in rows]

    assert len(set(words)) > 1
    # The scripted loss is the mean over documents, here 1 nat a word throughout.
    assert len(go(words, inner_window=1, inner_most=12)[0]) == 12

    # From the sixth update on 1.01 nats a word: the loop ends with that update.
    rising_losses = [w * (1.0 + 0.01 * (i >= 5)) for i, w in enumerate(words)]
    assert len(go(rising_losses, inner_window=1, inner_most=12)[0]) == 6


def test_there_is_no_loop_once_the_phase_is_over(go):
    assert go([], aggressive=0.0)[0] == []


def test_a_stop_inside_a_loop(go):
    answers = iter([False, False, True])
    with pytest.raises(Interrupted, match="within update 7"):
        go([1.0] * 9, stop=lambda: next(answers), inner_fixed=9)


def test_which_groups_an_update_proper_moves():
    objective = rule()
    assert objective.moves({"aggressive": torch.tensor(1.0)}) == OUTER
    assert objective.moves({"aggressive": torch.tensor(0.0)}) is None


def phases(found, **settings):
    """Return whether training is aggressive after each validation.

    ``found`` has the mutual information at each.
    """
    objective = rule(**settings)
    state = objective.state()
    aggressive = []

    for mi in found:
        state = objective.validated(state, {"valid_mi_batch": mi})
        aggressive.append(bool(state["aggressive"] > 0))

    return aggressive


def test_the_first_fall_of_the_mutual_information_ends_the_phase_for_good():
    assert phases([0.5, 0.9, 0.9, 0.8, 3.0]) == [True, True, True, False, False]
    assert phases([-0.01, 1.0]) == [False, False]  # collapsed, and the estimate below 0
    assert phases([-0.01, 1.0], mi_start=-1.0) == [True, True]


def test_falls_below_the_best_need_not_follow_each_other():
    mi = [1.0, 0.9, 0.95, 1.1, 1.0, 1.2]

    # The second, the third and the fifth are below the best so far.
    assert phases(mi, mi_falls=3, mi_best=True) == [True, True, True, True, False, False]
    assert phases(mi, mi_falls=3) == [True] * 6  # below the last one only twice
    assert phases(mi, mi_falls=2) == [True, True, True, True, False, False]
