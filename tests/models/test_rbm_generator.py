"""The enumerated posterior against direct sums over every state, and what is kept between calls."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from kit.parameters import drawn
from torch import distributions

from vaebench import models
from vaebench.data.info import DataInfo
from vaebench.dists import boltzmann_exact
from vaebench.errors import UserError
from vaebench.estimators import enumeration, exact
from vaebench.models import rbm_generator
from vaebench.models.base import Ancestral
from vaebench.rng import noise

VISIBLE = 5
LIMIT = 5.0
"""|z| of one comparison; 48 of them exceed it by chance once in 36,000
seeds, and seeds are fixed."""


def generator_of(latents=4, layers=1, seed=0, visible=VISIBLE):
    """float64, parameters and running averages all away from their start."""
    config = {"name": "rbm_generator", "latents": latents, "layers": layers, "units": 3}
    model = models.build(config, DataInfo(torch.linspace(0.2, 0.7, visible))).double()
    drawn(model.p, 1.0, seed)

    with torch.no_grad():
        for name, p in model.p.named_parameters():
            p.mul_(3.0 if "prior" in name else 1.2)

        # Batch normalisation: the running averages of three units.
        for norm in (m for m in model.modules() if hasattr(m, "variance")):
            norm.mean.copy_(torch.linspace(-0.5, 0.9, 3))
            norm.variance.copy_(torch.linspace(0.3, 2.0, 3))

    return model


@pytest.fixture
def x():
    return torch.tensor(
        [[c >> i & 1 for i in range(VISIBLE)] for c in (0, 9, 22, 31)], dtype=torch.float64
    )


def literal_joint(model, x, z):
    """log p(x, z) + log Z of one example and one state, from torch's Bernoulli
    and an negative_energy by loops."""
    prior = model.prior()
    half = len(z) // 2

    # -E(z) = b1 z1 + b2 z2 + z1 W z2, over the two halves of the bits.
    negative_energy = (model.p.prior.b1 * z[:half]).sum() + (model.p.prior.b2 * z[half:]).sum()
    for i, j in itertools.product(range(half), range(len(z) - half)):
        negative_energy = negative_energy + z[i] * prior.w[i, j] * z[half + j]

    logits = model.p.decoder(z.reshape(1, 1, -1))[0, 0]
    return negative_energy + distributions.Bernoulli(logits=logits).log_prob(x).sum()


def literal_table(model, x):
    """The same for every state, (batch, states). The first bit of a state's number is the least
    significant."""
    n = model.sizes[1]
    all_z = [torch.tensor([c >> i & 1 for i in range(n)], dtype=x.dtype) for c in range(2**n)]
    return torch.stack([torch.stack([literal_joint(model, v, z) for z in all_z]) for v in x])


@pytest.mark.parametrize(("latents", "layers"), [(4, 0), (4, 1), (5, 2), (2, 1)])
def test_the_table_is_the_joint_of_every_state(x, latents, layers):
    model = generator_of(latents, layers)
    log_joint = literal_table(model, x)

    # Without gradients the decoded states are kept, with them they are computed anew.
    for context in (torch.no_grad, torch.enable_grad):
        with context():
            torch.testing.assert_close(model.table(x), log_joint, rtol=0, atol=1e-11)
            torch.testing.assert_close(
                model.log_marginal(x), torch.logsumexp(log_joint, 1), rtol=0, atol=1e-11
            )


@torch.no_grad()
def test_the_posterior_is_bayes_rule(x):
    model = generator_of()
    z = [h.expand(-1, len(x), -1) for h in exact.latent_states(model)]
    log_posterior = torch.log_softmax(literal_table(model, x), 1).T

    torch.testing.assert_close(model.log_posterior(z, x), log_posterior, rtol=0, atol=1e-11)

    (term,) = model.log_posterior_terms(z, x)
    torch.testing.assert_close(term, log_posterior, rtol=0, atol=1e-11)


@torch.no_grad()
@pytest.mark.parametrize("latents", [4, 16])
def test_every_sample_gives_the_evidence(x, latents):
    """log p(x, z) - log p(z | x) is log p(x) + log Z whatever z; the exact NLL
    is found by other code."""
    model = generator_of(latents)
    z = model.sample_posterior(x, 7, noise.fixed(model.posterior_noise(7, len(x)), 0, "eval"))
    assert [tuple(v.shape) for v in z] == [(7, len(x), latents)]

    log_w = model.log_joint(x, z) - model.log_posterior(z, x) - boltzmann_exact.log_z(model.prior())
    torch.testing.assert_close(
        log_w, enumeration.log_evidence(model, x).expand(7, -1), rtol=0, atol=1e-10
    )


@torch.no_grad()
def test_the_probabilities_of_all_images_sum_to_one():
    model = generator_of()
    log_p = model.log_marginal(exact.states(VISIBLE)) - boltzmann_exact.log_z(model.prior())
    assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-12)


def test_the_marginal_has_the_gradient_of_the_sum(x):
    model = generator_of()
    gradient_of_sum = torch.autograd.grad(
        torch.logsumexp(literal_table(model, x), 1).sum(), list(model.parameters())
    )
    gradient = torch.autograd.grad(model.log_marginal(x).sum(), list(model.parameters()))

    for of_marginal, of_sum in zip(gradient, gradient_of_sum, strict=True):
        assert float(of_sum.abs().sum()) > 0
        torch.testing.assert_close(of_marginal, of_sum, rtol=1e-10, atol=1e-10)


# ------------------------------------------------------------------------------------------ samples


@torch.no_grad()
def test_samples_invert_the_distribution_function(x):
    """Noise in the middle of a state's share of [0, 1) gives that state. Noise at the ends gives
    the first and the last state."""
    model = generator_of()
    probabilities = torch.softmax(literal_table(model, x), 1)
    middle = probabilities.cumsum(1) - probabilities / 2
    # A row for each of the 16 states, then both ends: 0, and the largest double below 1.
    u = torch.cat([middle.T, torch.zeros(1, len(x)), torch.full((1, len(x)), 1 - 2.0**-53)])
    (z,) = model.sample_posterior(x, len(u), {"q1": u})

    assert z.dtype == torch.float64

    number = (z.long() * 2 ** torch.arange(4)).sum(-1)
    numbers = [*range(16), 0, 15]
    assert number.tolist() == [[state] * len(x) for state in numbers]


@torch.no_grad()
def test_samples_have_their_probabilities(x):
    model = generator_of()
    k = 20_000
    (z,) = model.sample_posterior(x[1:], k, noise.fixed(model.posterior_noise(k, 3), 3, "eval"))
    p = torch.softmax(literal_table(model, x[1:]), 1)

    # Shares of the 16 states, (examples, states); z only where a state is expected five times.
    number = (z.long() * 2 ** torch.arange(4)).sum(-1)
    share = torch.stack([torch.bincount(number[:, b], minlength=16) / k for b in range(3)])
    frequent = p * k > 5

    assert int(frequent.sum()) > 20

    score = (share - p) / (p * (1 - p) / k).sqrt()
    assert float(score[frequent].abs().max()) < LIMIT


@torch.no_grad()
def test_one_state_that_takes_all(x):
    """Logits of thousands: the weights of all other states are zero, and nothing is NaN."""
    model = generator_of(layers=0).float()
    for p in model.p.prior.parameters():
        p.fill_(-1000.0)
    model.p.prior.b2.fill_(500.0)
    (z,) = model.sample_posterior(x.float(), 3, noise.fixed(model.posterior_noise(3, 4), 0, "eval"))

    assert torch.equal(z, torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(3, 4, 4))
    torch.testing.assert_close(
        model.log_posterior([z], x.float()), torch.zeros(3, 4), rtol=0, atol=1e-3
    )


@torch.no_grad()
def test_pieces_make_the_whole(x, monkeypatch):
    model = generator_of()
    draws = noise.fixed(model.posterior_noise(5, len(x)), 0, "eval")
    in_one_piece = model.sample_posterior(x, 5, draws)[0], model.log_marginal(x)
    # Pieces of two examples, seven states at a time.
    monkeypatch.setattr(rbm_generator, "CHUNK", 35)
    model, tables, sizes = generator_of(), model.table, []
    monkeypatch.setattr(model, "table", lambda v: sizes.append(len(v)) or tables(v))

    assert torch.equal(model.sample_posterior(x, 5, draws)[0], in_one_piece[0])
    assert sizes == [2, 2]
    torch.testing.assert_close(generator_of().log_marginal(x), in_one_piece[1], rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------------- what is kept


@torch.no_grad()
def test_states_are_decoded_once_until_something_changes(x, monkeypatch):
    model = generator_of()
    calls = []
    decode_all = model._decode_all
    monkeypatch.setattr(model, "_decode_all", lambda: calls.append(1) or decode_all())

    def value():
        log_p = model.log_marginal(x)
        fresh = generator_of()
        fresh.load_state_dict(model.state_dict())

        # The same bits as a model that has kept nothing.
        torch.testing.assert_close(log_p, fresh.to(log_p.dtype).log_marginal(x), rtol=0, atol=0)

        return log_p

    first = value()

    assert torch.equal(model.log_marginal(x[:2]), first[:2])
    assert len(calls) == 1

    # A parameter, a running average and all of them at once: every change is noticed.
    model.p.decoder.output.bias.data[0] += 0.5
    second = value()
    model.p.decoder.net.norms[0].variance.mul_(2.0)
    third = value()
    model.load_state_dict(generator_of(seed=1).state_dict())
    fourth = value()

    assert len(calls) == 4
    assert all(
        float((a - b).abs().min()) > 1e-6
        for a, b in itertools.combinations((first, second, third, fourth), 2)
    )
    assert model.float().log_marginal(x.float()).dtype == torch.float32

    with torch.enable_grad():
        assert model.log_marginal(x.float()).requires_grad


@torch.no_grad()
def test_a_copy_is_a_model_of_its_own(x):
    model = generator_of()
    before = model.log_marginal(x)
    changed = copy.deepcopy(model)
    changed.p.decoder.output.bias.add_(1.0)

    assert not torch.allclose(changed.log_marginal(x), before)
    assert torch.equal(model.log_marginal(x), before)
    assert not any("kept" in name for name in model.state_dict())


# ------------------------------------------------------------------------------------------- frozen


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_frozen_by_the_running_averages_is_the_model(x, layers):
    model = generator_of(layers=layers)
    norms = [m for m in model.modules() if hasattr(m, "variance")]
    log_joint = model.frozen({m.path: (m.mean, m.variance) for m in norms})
    z = [h[:, :1] for h in exact.latent_states(model)]

    for v in x:
        frozen = log_joint(v.expand(16, -1), z[0][:, 0])
        assert not frozen.requires_grad
        torch.testing.assert_close(
            frozen, model.log_joint(v[None], z)[:, 0].detach(), rtol=0, atol=1e-12
        )


def test_frozen_by_a_tape_is_the_model_in_training(x):
    model = generator_of(layers=2)
    z = [exact.states(4)[[1, 6, 11, 12]]]
    batch_statistics = {}
    log_joint = model.log_likelihood(x, z, batch_statistics) + model.prior().negative_energy(
        *model.sides(z)
    )

    torch.testing.assert_close(
        model.frozen(batch_statistics)(x, z[0]), log_joint.detach(), rtol=0, atol=1e-12
    )

    # The statistics of the batch differ from the running averages.
    assert not torch.allclose(log_joint, model.log_joint(x, z))


# ----------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("latents", [17, 1, 0, -3, 4.0, True])
def test_more_bits_than_can_be_enumerated_are_refused(latents):
    with pytest.raises(UserError, match=r"model\.latents=.*allowed: 2 to 16 bits") as e:
        models.build({"name": "rbm_generator", "latents": latents}, DataInfo([0.5] * 3))
    assert "\n" not in str(e.value)


def test_what_it_is():
    model = generator_of(latents=5)
    assert model.sizes == [VISIBLE, 5]
    assert model.facts.unnormalised == ("prior",)
    assert all(name.startswith("p.") for name, _ in model.named_parameters())
    assert model.posterior_noise(3, 2) == {"q1": ("uniform", (3, 2))}
    assert math.prod(model.prior().w.shape) == 6
    assert not isinstance(model, Ancestral)
    with pytest.raises(UserError, match="units"):
        models.build({"name": "rbm_generator", "units": 0}, DataInfo([0.5] * 3))
