"""Replicated Softmax: log Z of every length by brute force, chains that keep its
law, the gradient of CD-k."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from kit.parameters import drawn

from vaebench import models
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.estimators.log_z import by_length
from vaebench.estimators.log_z.by_length import Annealing
from vaebench.estimators.log_z.spacing import evenly
from vaebench.models.replicated_softmax import ReplicatedSoftmax, log_shares
from vaebench.objectives.base import Batch
from vaebench.objectives.contrastive_divergence import ContrastiveDivergence
from vaebench.rng import noise

VOCABULARY = 3
UNITS = 2


def built(vocabulary=VOCABULARY, units=UNITS, seed=0, scale=1.0):
    return drawn(
        ReplicatedSoftmax(DataInfo(np.ones(vocabulary), Kind.COUNTS), units).double(), scale, seed
    )


def sequences(length):
    """The counts of all sequences of ``length`` words, (V^length, V)."""
    words = torch.tensor(list(itertools.product(range(VOCABULARY), repeat=length)))
    return torch.nn.functional.one_hot(words, VOCABULARY).sum(1).double()


def brute_log_z(model, length):
    """log Z: the sum of exp(-energy) over all sequences and all hidden states."""
    b, a, w = (getattr(model.p, name).detach() for name in ("visible", "hidden", "weight"))
    total = 0.0
    for n in sequences(length):
        for h in itertools.product((0.0, 1.0), repeat=UNITS):
            state = torch.tensor(h).double()
            total += math.exp(float(b @ n + length * (a @ state) + n @ w @ state))

    return math.log(total)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_log_z_of_a_length_is_that_of_all_sequences_and_hidden_states(length):
    model = built()
    log_z = brute_log_z(model, length)
    (exact,) = by_length.exact(model, torch.tensor([length]))

    assert float(exact) == pytest.approx(log_z, abs=1e-10)

    # With this log Z the probabilities of all sequences sum to one.
    log_p = -model.free_energy(sequences(length)).detach() - log_z
    assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize("base", [None, torch.linspace(-1, 1, 5)])
def test_annealing_encloses_log_z_within_its_errors(base):
    """z of both directions at three lengths: one is above 4.5 by chance once in 25,000 seeds."""
    model = built(vocabulary=5, units=4)
    lengths = torch.tensor([1, 7, 40])
    exact = by_length.exact(model, lengths)
    annealed = by_length.ais(
        model, lengths, Annealing(evenly(100), 400, base), seed=0, reverse=True
    )

    assert annealed.upper_exact

    # The first pair estimates log Z from below, the second from above.
    for value, error in ((annealed.value, annealed.error), (annealed.upper, annealed.upper_error)):
        assert float(error.max()) < 0.2
        assert bool(((value - exact).abs() < 4.5 * error + 1e-9).all()), (value, exact, error)

    assert bool((annealed.ess > 40).all())
    assert "100 steps" in annealed.method


def test_few_temperatures_have_few_effective_chains_and_read_too_low():
    model = built(vocabulary=5, units=6, scale=2.0)
    lengths = torch.tensor([60])
    exact = by_length.exact(model, lengths)
    annealed = by_length.ais(model, lengths, Annealing(evenly(2), 100), seed=0, reverse=True)

    assert float(annealed.ess) < 20
    assert float(annealed.value) < float(exact) < float(annealed.upper)


def test_a_length_does_not_see_the_lengths_beside_it():
    model = built(vocabulary=5, units=3)
    together = by_length.ais(
        model, torch.tensor([3, 9]), Annealing(evenly(10), 5), seed=1, reverse=True
    )
    alone = by_length.ais(model, torch.tensor([9]), Annealing(evenly(10), 5), seed=1, reverse=True)

    assert float(together.value[1]) == float(alone.value[0])
    assert float(together.upper[1]) == float(alone.upper[0])


def test_without_couplings_annealing_is_exact():
    model = built()
    with torch.no_grad():
        model.p.weight.zero_()
        model.p.hidden.zero_()

    annealed = by_length.ais(model, torch.tensor([4]), Annealing(evenly(1), 2), seed=0)

    assert float(annealed.value) == pytest.approx(brute_log_z(model, 4), abs=1e-10)
    assert float(annealed.error) == pytest.approx(0.0, abs=1e-12)


def test_too_many_units_cannot_be_enumerated():
    with pytest.raises(ValueError, match="cannot be enumerated"):
        by_length.exact(ReplicatedSoftmax(DataInfo(np.ones(3), Kind.COUNTS), 21), torch.tensor([1]))
    with pytest.raises(ValueError, match="at least 1 and 2"):
        by_length.ais(built(), torch.tensor([1]), Annealing(evenly(10), 1), seed=0)


# ---------------------------------------------------------------------------------------- the chain


def step_matrix(model, length):
    """The transition matrix of one Gibbs step between the counts of documents, by enumeration; and
    these counts."""
    all_counts = torch.unique(sequences(length), dim=0)

    # How many sequences of words have these counts, the multinomial coefficient.
    ways = torch.tensor(
        [math.factorial(length) / math.prod(math.factorial(int(v)) for v in n) for n in all_counts]
    )
    out = torch.zeros(len(all_counts), len(all_counts)).double()

    # A step draws h given the counts, then the counts given h. Summing over h gives
    # p(counts after | counts before).
    for h in itertools.product((0.0, 1.0), repeat=UNITS):
        state = torch.tensor(h).double()
        on = torch.sigmoid(model.hidden_logits(all_counts).detach())
        p_h = torch.where(state > 0, on, 1 - on).prod(-1)
        log_words = torch.log_softmax(model.word_logits(state).detach(), -1)
        p_n = ways * (all_counts @ log_words).exp()
        out += p_h.unsqueeze(1) * p_n

    return out, all_counts


def test_the_chain_keeps_the_law_of_its_model():
    model = built()
    step, all_counts = step_matrix(model, 3)
    torch.testing.assert_close(step.sum(1), torch.ones(len(all_counts)).double())

    # p(counts): all sequences with these counts together. A step leaves it as it is.
    ways = torch.tensor(
        [math.factorial(3) / math.prod(math.factorial(int(v)) for v in n) for n in all_counts]
    )
    p = ways * (-model.free_energy(all_counts).detach() - brute_log_z(model, 3)).exp()

    torch.testing.assert_close(p @ step, p.double())


def test_samples_of_the_chain_are_those_of_the_step_matrix():
    """40,000 chains of two steps; the worst of ten frequencies has z above
    4.5 once in 15,000 seeds."""
    model = built()
    step, all_counts = step_matrix(model, 3)
    start_counts = torch.tensor([2.0, 0.0, 1.0]).double()

    # The law after two steps, and the ends of 40,000 chains.
    probabilities = (step @ step)[int((all_counts == start_counts).all(-1).nonzero())]
    starts = start_counts.expand(40_000, -1)
    ends = model.gibbs(starts, noise.fixed(model.gibbs_noise(2, len(starts)), 0, "noise"))

    assert bool((ends.sum(-1) == 3).all())

    frequencies = torch.stack([(ends == n).all(-1).double().mean() for n in all_counts])
    z = (frequencies - probabilities) / (probabilities * (1 - probabilities) / len(starts)).sqrt()
    assert float(z.abs().max()) < 4.5


@pytest.mark.parametrize("steps", [1, 3])
def test_the_gradient_of_cd_is_its_definition(steps):
    """The mean over many chains of dF(data) - dF(end), against its exact expectation. The worst of
    11 z is above 4.5 once in 13,000 seeds."""
    model = built()
    rule = ContrastiveDivergence(model, steps=steps, weight_decay=0.0)
    data = torch.tensor([[2.0, 0.0, 1.0]]).double()
    step, all_counts = step_matrix(model, 3)
    end_probabilities = torch.linalg.matrix_power(step, steps)[
        int((all_counts == data[0]).all(-1).nonzero())
    ]
    params = list(model.parameters())

    def gradient(loss):
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, params)])

    # Exact mean of the gradient over the ends, and the deviation of one chain's.
    gradient_at_ends = torch.stack(
        [gradient(model.free_energy(n.unsqueeze(0)).sum()) for n in all_counts]
    )
    exact = gradient(model.free_energy(data).sum()) - end_probabilities @ gradient_at_ends
    deviation = (
        (end_probabilities @ gradient_at_ends**2 - (end_probabilities @ gradient_at_ends) ** 2)
        .clamp(min=0)
        .sqrt()
    )

    chains = 20_000
    draws = noise.fixed(rule.noise(chains), 1, "noise")
    loss, _, _ = rule(rule.state(0, chains), Batch(data.expand(chains, -1)), draws)
    sampled = gradient(loss)

    assert bool(((sampled - exact).abs() <= 4.5 * deviation / chains**0.5 + 1e-9).all())
    # The gradient must vary, or its agreement would say nothing of the ends.
    assert float(deviation.max()) > 0.1


def test_documents_of_several_lengths_keep_them():
    model = built()
    x = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0], [4.0, 5.0, 1.0]]).double()
    together = model.gibbs(x, noise.fixed(model.gibbs_noise(3, 3), 0, "noise"))

    assert torch.equal(together.sum(-1), x.sum(-1))

    alone = model.gibbs(
        x[1:2],
        {
            name: draws[:, 1:2]
            for name, draws in noise.fixed(model.gibbs_noise(3, 3), 0, "noise").items()
        },
    )
    assert torch.equal(alone, together[1:2])


def test_it_starts_at_the_unigram_and_takes_good_settings_alone():
    config = {"name": "replicated_softmax", "units": 2, "init": "normal", "init_scale": 0.01}
    model = models.build(config, DataInfo(np.array([3.0, 1.0, 0.0]), Kind.COUNTS))
    models.start(torch.nn.ModuleDict({"model": model}), config, 0)
    word_shares = torch.softmax(model.p.visible.detach(), 0)

    np.testing.assert_allclose(word_shares, [0.75, 0.25, 0.0], atol=1e-5)
    assert [v is model.p.weight for v in model.decayed()] == [True]

    for units in (0, 2.5):
        with pytest.raises(UserError, match=r"model\.units"):
            ReplicatedSoftmax(DataInfo(np.ones(3), Kind.COUNTS), units)


def test_words_that_never_occur_start_with_a_share_of_a_millionth():
    shares = log_shares(torch.tensor([3.0, 0.0, 1.0])).exp()
    torch.testing.assert_close(shares, torch.tensor([0.75, 1e-6, 0.25]))
    assert torch.isfinite(log_shares(torch.zeros(3))).all()
