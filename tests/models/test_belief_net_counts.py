"""Belief nets of documents as counts: against token sequences one by one, and gradients against
their expectations."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from vaebench import models, objectives
from vaebench.check.gradients import frozen_state
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.dists import multinomial
from vaebench.errors import UserError
from vaebench.estimators import exact, weights
from vaebench.estimators.importance_weighted import importance
from vaebench.estimators.variational import bound
from vaebench.models.belief_net import Units, Words
from vaebench.objectives.base import Batch
from vaebench.rng import noise

WORDS = 3
LONGEST = 4
MEAN = torch.tensor([0.9, 1.4, 0.2])
"""Of the words: 2.5 tokens a document, 2 rounded."""

EVERY_NET = [
    {"name": "sbn", "dims": [3]},
    {"name": "sbn", "dims": [2, 2]},
    {"name": "fdarn", "dims": [3]},
    {"name": "fdarn", "dims": [3], "posterior": "autoregressive"},
]


def net(mean=MEAN, **config):
    model = models.build(config, DataInfo(mean, Kind.COUNTS, longest=LONGEST)).double()
    randomize(model, 0)
    return model


def documents(tokens: int, words: int = WORDS):
    """Every sequence of ``tokens`` words, and the counts of each sequence, (n, words)."""
    sequences = list(itertools.product(range(words), repeat=tokens))
    return sequences, torch.stack(
        [torch.bincount(torch.tensor(s), minlength=words) for s in sequences]
    ).double()


# ---------------------------------------------------------------------------------------- densities


def test_the_probability_is_that_of_the_tokens_one_after_the_other():
    logits = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    p = [math.exp(a) / sum(math.exp(b) for b in logits.tolist()) for a in logits.tolist()]
    for tokens in (1, 2, 3):
        sequences, x = documents(tokens)
        log_p = [math.log(math.prod(p[w] for w in s)) for s in sequences]
        assert multinomial.log_prob(x, logits).tolist() == pytest.approx(log_p, abs=1e-12)
        assert sum(math.exp(v) for v in log_p) == pytest.approx(1.0)


@pytest.mark.parametrize("config", EVERY_NET, ids=str)
@pytest.mark.parametrize("tokens", [2, 3])
def test_probabilities_of_all_sequences_sum_to_one(config, tokens):
    model = net(**config).requires_grad_(False)
    _, x = documents(tokens)
    assert float(exact.log_evidence(model, x).exp().sum()) == pytest.approx(1.0, abs=1e-12)


def test_only_the_likelihood_differs_from_that_of_bits():
    """The first term is a likelihood of words. The other terms, and those of Q, equal those of the
    same net on bits."""
    model = net(name="sbn", dims=[2, 3])
    assert isinstance(model.p[0], Words)

    # The same parameters in a net on bits.
    on_bits = models.build({"name": "sbn", "dims": [2, 3]}, DataInfo(MEAN)).double()
    on_bits.load_state_dict(model.state_dict())
    assert type(on_bits.p[0]) is Units
    assert (model.draws_bits, on_bits.draws_bits) == (False, True)

    x = torch.tensor([[2.0, 0.0, 1.0], [0.0, 4.0, 0.0]], dtype=torch.float64)
    z = model.sample_posterior(x, 5, noise.fixed(model.posterior_noise(5, 2), 0, "noise"))

    with torch.no_grad():
        with_counts = model.log_joint_terms(x, z)
        with_bits = on_bits.log_joint_terms(x, z)
        logits = z[0] @ model.p[0].weight.T + model.p[0].bias

    torch.testing.assert_close(with_counts[0], (x * torch.log_softmax(logits, -1)).sum(-1))
    torch.testing.assert_close(with_counts[1:], with_bits[1:])
    torch.testing.assert_close(model.log_posterior_terms(z, x), on_bits.log_posterior_terms(z, x))
    torch.testing.assert_close(model.posterior_inputs(x, z)[0], x - MEAN.double())


@pytest.mark.parametrize("config", EVERY_NET, ids=str)
def test_bound_and_importance_weights_against_enumeration(config):
    """The 10-sample bound of one document, repeated, is within 4 of its standard errors: fails by
    chance in 6e-5."""
    model = net(**config).requires_grad_(False)
    x = torch.tensor([[2.0, 1.0, 1.0]], dtype=torch.float64).expand(2000, -1)
    sampled_bound = bound(model, x, 10, 0)

    assert abs(sampled_bound.value - float(exact.elbo(model, x[:1]))) < 4 * sampled_bound.error

    iw = importance(model, x[:200], 1000, 0)
    assert abs(iw.nll + float(exact.log_evidence(model, x[:1]))) < 4 * iw.error + 1e-3
    assert -sampled_bound.value > iw.nll


# ---------------------------------------------------------------------------------------- gradients


def uniforms_of(layers):
    """Uniform noise that puts the units into these states, whatever their probabilities.

    Both are (1, 1, n) for each layer.
    """
    return [torch.where(h > 0, 1e-12, 1 - 1e-12) for h in layers]


def gradients(rule, x, draws, state):
    loss, _, _ = rule(state, Batch(x, rows=torch.arange(len(x))), draws)
    grads = torch.autograd.grad(loss, list(rule.parameters()))
    # A rule has losses; the tests want the gradients of bounds.
    return {name: -g for (name, _), g in zip(rule.named_parameters(), grads, strict=True)}


@pytest.mark.parametrize("config", EVERY_NET, ids=str)
def test_the_expectation_of_nvil_is_the_gradient_of_the_bound(config):
    """The expectation is a sum over all states of the latents. The model's gradient is that of the
    bound; the posterior's is that of the bound over the running deviation of its layer."""
    model = net(**config)
    rule = objectives.build({"name": "nvil", "baseline_units": 4}, model).double()
    randomize(rule.baseline, 6, 0.5)
    state = frozen_state(rule)
    x = torch.tensor([[3.0, 0.0, 1.0]], dtype=torch.float64)

    states = exact.latent_states(model)
    weight = model.log_posterior(states, x).exp().detach().squeeze(1)

    assert float(weight.sum()) == pytest.approx(1.0)

    # The gradient of each state of the latents, weighted by the posterior's probability of it.
    expected: dict[str, torch.Tensor] = {}

    for s in range(len(weight)):
        draws = {
            f"q{i + 1}": uniform
            for i, uniform in enumerate(uniforms_of([h[s : s + 1] for h in states]))
        }
        for name, g in gradients(rule, x, draws, state).items():
            expected[name] = expected.get(name, 0) + weight[s] * g

    # The exact gradients: of E_q[log p(x, h)] for the model, of the bound for the posterior.
    named = dict(model.named_parameters())
    of_model = torch.autograd.grad(
        exact.expected_log_joint(model, x).sum(), [v for n, v in named.items() if n[0] == "p"]
    )
    of_posterior = torch.autograd.grad(
        exact.elbo(model, x).sum(), [v for n, v in named.items() if n[0] == "q"]
    )
    for name, g in zip([n for n in named if n[0] == "p"], of_model, strict=True):
        torch.testing.assert_close(expected[f"model.{name}"], g, rtol=1e-9, atol=1e-9)

    # NVIL divides the signal of a layer by its running deviation.
    for name, g in zip([n for n in named if n[0] == "q"], of_posterior, strict=True):
        deviation = state["variance"][int(name.split(".")[1])].sqrt()
        torch.testing.assert_close(expected[f"model.{name}"] * deviation, g, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("config", EVERY_NET[:3], ids=str)
def test_the_expectation_of_wake_sleep(config):
    """Wake: a sum over all latents. Sleep: a sum over all latents and all dreams. A dream has as
    many tokens as the document of the batch whose place it takes."""
    model = net(**config)
    rule = objectives.build({"name": "wake_sleep"}, model).double()
    x = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)
    states = exact.latent_states(model)
    sequences, all_x = documents(2)

    def drawn(sampled, dreamt, tokens):
        """Gradients with the latents number ``sampled``, the dreamt latents number ``dreamt`` and
        the dreamt words ``tokens``."""
        q, p = ([h[s : s + 1] for h in states] for s in (sampled, dreamt))
        draws = {f"q{i + 1}": u for i, u in enumerate(uniforms_of(q))}
        draws |= {f"p{i + 1}": u[0] for i, u in enumerate(uniforms_of(p))}

        # Noise in the middle of each word's share of [0, 1); what is left of it does not matter.
        mass = torch.softmax(model.p[0].logits(p[0][0, 0]).detach(), 0).cumsum(0)
        middle = [(mass[w] + (mass[w - 1] if w else 0)) / 2 for w in tokens]
        rest = [torch.tensor(0.5)] * (LONGEST - len(tokens))
        return gradients(rule, x, {**draws, "p0": torch.stack([*middle, *rest]).unsqueeze(0)}, {})

    expected: dict[str, torch.Tensor] = {}
    weight = model.log_posterior(states, x).exp().detach().squeeze(1)

    # Wake: the model's gradients, over the posterior. The dream does not matter.
    for s in range(len(weight)):
        for name, g in drawn(s, 0, (0, 0)).items():
            if name.startswith("model.p."):
                expected[name] = expected.get(name, 0) + weight[s] * g

    # Sleep: the posterior's gradients, over the joint law of latents and sequences.
    z = [h.expand(-1, len(all_x), -1) for h in states]
    joint = model.log_joint(all_x, z).exp().detach()

    assert float(joint.sum()) == pytest.approx(1.0)

    for s, (d, tokens) in itertools.product(range(len(joint)), enumerate(sequences)):
        for name, g in drawn(0, s, tokens).items():
            if name.startswith("model.q."):
                expected[name] = expected.get(name, 0) + joint[s, d] * g

    objective = (
        exact.expected_log_joint(model, x).sum() + (joint * model.log_posterior(z, all_x)).sum()
    )
    grads = torch.autograd.grad(objective, list(model.parameters()))
    for (name, _), g in zip(model.named_parameters(), grads, strict=True):
        torch.testing.assert_close(expected[f"model.{name}"], g, rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------------------------------ samples


def test_dreams_have_the_lengths_and_the_words_they_should():
    """Mean counts of each word in dreams of each length, by enumeration; 12 normal z exceed 4.5
    once in 12,000 sets."""
    model = net(name="fdarn", dims=[3]).requires_grad_(False)
    dreams_of_length = 10_000
    lengths = torch.arange(1, LONGEST + 1).repeat_interleave(dreams_of_length)
    x = torch.zeros(len(lengths), WORDS, dtype=torch.float64)
    x[:, 1] = lengths
    draws = {k: v.double() for k, v in noise.fixed(model.dream_noise(len(x)), 0, "noise").items()}
    dream, (h,) = model.dream(x, draws)

    assert torch.equal(dream.sum(-1), x.sum(-1))

    # Expected counts: the words' probabilities, averaged over the latents.
    (states,) = exact.latent_states(model)
    prior = model.p[1].log_prob(states, None).exp()[:, 0]
    word_probabilities = (prior[:, None] * torch.softmax(model.p[0].logits(states), -1)[:, 0]).sum(
        0
    )

    for n, part in zip(range(1, LONGEST + 1), dream.split(dreams_of_length), strict=True):
        z = (part.mean(0) - n * word_probabilities) / (part.std(0) / math.sqrt(dreams_of_length))
        assert z.abs().max() < 4.5

    # The latents of all dreams have their prior; states are numbered as exact has them.
    code = (h[0].long() << torch.arange(3)).sum(-1)
    frequency = torch.bincount(code, minlength=8) / len(code)
    numbers = (states[:, 0].long() << torch.arange(3)).sum(-1)
    z = (frequency[numbers] - prior) / (prior * (1 - prior) / len(code)).sqrt()

    assert z.abs().max() < 4.5


def test_a_document_without_a_pattern_has_the_mean_length():
    model = net(name="sbn", dims=[2])
    x, _ = model.sample_joint(noise.fixed(model.joint_noise(50), 0, "noise"))
    assert set(x.sum(-1).tolist()) == {2.0}
    assert model.sample_visible(
        [torch.zeros(4, 3, 2).double()],
        torch.rand(4, 3, 5),
    ).sum(-1).unique().tolist() == [5.0]


def test_samples_of_a_large_vocabulary_stay_in_it():
    """The noise at both ends, and words without probability, which are never drawn."""
    logits = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    logits[[0, 7, 1999]] = -1e4
    uniform = torch.tensor([0.0, 1 - 2**-24]).repeat(3, 50)
    counts = multinomial.sample(logits, uniform)

    assert (counts.shape, counts.dtype) == ((3, 2000), torch.float32)
    assert counts.sum(-1).tolist() == [100.0] * 3
    assert not counts[:, [0, 7, 1999]].any()
    # Their neighbours take the noise at both ends, 0 and almost 1.
    assert counts[:, [1, 1998]].tolist() == [[50.0, 50.0]] * 3


def test_dreams_need_to_know_how_long_documents_are():
    model = models.build({"name": "sbn", "dims": [2]}, DataInfo(MEAN, Kind.COUNTS))
    with pytest.raises(ValueError, match="the tokens of the longest are not known"):
        model.dream_noise(3)


# ----------------------------------------------------------------------------------- who takes them


def test_evaluation_of_counts_that_happen_to_be_bits_is_not_that_of_bits():
    """A document whose words all occur once is no image."""
    model = models.build({"name": "sbn", "dims": [3]}, DataInfo(MEAN, Kind.COUNTS, longest=3))
    x = torch.tensor([[1.0, 0.0, 1.0]]).expand(weights.WORTH_KERNELS, -1)
    assert not weights.by_kernel(model, x, 10)
    assert weights.by_kernel(models.build({"name": "sbn", "dims": [3]}, DataInfo(MEAN)), x, 10)


def test_darn_whose_visibles_are_chained_takes_no_counts():
    with pytest.raises(
        UserError,
        match=r"data=news20 has counts for examples; model=darn takes bits; .*: sbn, fdarn",
    ):
        models.check_data("darn", "news20", Kind.COUNTS)
    models.check_data("fdarn", "news20", Kind.COUNTS)
