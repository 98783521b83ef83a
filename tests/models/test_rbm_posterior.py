"""The Boltzmann posterior: spins and bits, what the encoder gives, unnormalised
densities, weight decay."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from kit.parameters import drawn
from torch.func import vmap

from vaebench import models
from vaebench.data.info import DataInfo
from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.errors import UserError
from vaebench.models.base import SampledPosterior
from vaebench.models.rbm_posterior import from_spins
from vaebench.nn import batch_norm

VISIBLE = 5
CASES = 6


def built(seed=0, **settings):
    """A model with every parameter N(0, 0.6^2) and running averages that are not the
    initial ones, in float64."""
    settings = {"latents": 5, "layers": 1, "units": 3} | settings
    model = models.build(
        {"name": "rbm_posterior", **settings}, DataInfo(torch.linspace(0.2, 0.7, VISIBLE))
    ).double()
    generator = torch.Generator().manual_seed(seed)
    drawn(model, 0.6, generator=generator)

    with torch.no_grad():
        for name, b in sorted(model.named_buffers()):
            if name.endswith((".mean", ".variance")):
                b.uniform_(0.5, 1.5, generator=generator)

    return model.requires_grad_(False)


def data(cases=CASES):
    return (torch.rand(cases, VISIBLE, generator=torch.Generator().manual_seed(7)) < 0.5).double()


def sides(n1, n2):
    """Every state, as two lists of bits."""
    return [(list(s[:n1]), list(s[n1:])) for s in itertools.product((0, 1), repeat=n1 + n2)]


@pytest.mark.parametrize(("n1", "n2"), [(1, 1), (3, 2), (2, 3)])
def test_the_machine_over_bits_is_that_over_spins(n1, n2):
    """-E of bits and -E of spins, term by term, differ by the same constant in every state."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((n1,), (n2,), (n1, n2))
    h1, h2, couplings = (
        torch.randn(2, *s, generator=generator, dtype=torch.float64) for s in shapes
    )
    rbms = from_spins(h1, h2, couplings)

    for b in range(2):
        differences = []
        for z1, z2 in sides(n1, n2):
            # -E over spins, which are -1 and 1, by loops.
            s1 = [2 * v - 1 for v in z1]
            s2 = [2 * v - 1 for v in z2]
            over_spins = sum(float(h1[b, i]) * s1[i] for i in range(n1)) + sum(
                float(h2[b, i]) * s2[i] for i in range(n2)
            )
            over_spins += sum(
                float(couplings[b, i, k]) * s1[i] * s2[k] for i in range(n1) for k in range(n2)
            )

            # -E of the same state over bits.
            rbm = RBM(*(p[b] for p in rbms))
            over_bits = rbm.negative_energy(
                *(torch.tensor([v], dtype=torch.float64) for v in (z1, z2))
            )
            differences.append(float(over_bits) - over_spins)

        assert max(differences) - min(differences) < 1e-12


@pytest.mark.parametrize("training", [True, False])
def test_the_encoder_by_hand(training):
    """Example by example and number by number; in training by the statistics of the batch."""
    model = built()
    x = data()
    n1 = 2
    n2 = 3
    batch_statistics = {} if training else None
    rbm = model.posterior(x, batch_statistics)

    def normalised(rows, norm):
        """Batch normalisation of lists of numbers, (examples, units), by loops."""
        columns = list(zip(*rows, strict=True))
        mean = [
            math.fsum(c) / len(c) if training else float(m)
            for c, m in zip(columns, norm.mean, strict=True)
        ]
        batch_variance = [
            math.fsum((v - m) ** 2 for v in c) / len(c) for c, m in zip(columns, mean, strict=True)
        ]
        variance = batch_variance if training else norm.variance.tolist()
        scale = norm.scale.tolist()
        shift = norm.shift.tolist()

        # 0.01 is what batch normalisation adds to the variance.
        return [
            [
                (v - m) / math.sqrt(s + 0.01) * a + b
                for v, m, s, a, b in zip(r, mean, variance, scale, shift, strict=True)
            ]
            for r in rows
        ]

    # The hidden layer sees centred data.
    q = model.q
    hidden = [(q.net.dense[0].weight @ (c - model.mean) + q.net.dense[0].bias).tolist() for c in x]
    hidden = [[math.tanh(v) for v in r] for r in normalised(hidden, q.net.norms[0])]
    out = [
        (q.output.weight @ torch.tensor(r, dtype=torch.float64) + q.output.bias).tolist()
        for r in hidden
    ]

    # The output: n1 and n2 biases over spins, then the couplings, which are normalised.
    couplings = normalised([r[n1 + n2 :] for r in out], q.couplings)

    # From spins to bits: w = 4 j, and each bias is twice what is left after its couplings.
    for b in range(CASES):
        j = [[1.5 / math.sqrt(n1) * couplings[b][i * n2 + k] for k in range(n2)] for i in range(n1)]
        for i in range(n1):
            assert float(rbm.b1[b, i]) == pytest.approx(2 * (out[b][i] - sum(j[i])), abs=1e-10)
            assert rbm.w[b, i].tolist() == pytest.approx([4 * v for v in j[i]], abs=1e-10)

        for k in range(n2):
            bias = 2 * (out[b][n1 + k] - sum(j[i][k] for i in range(n1)))
            assert float(rbm.b2[b, k]) == pytest.approx(bias, abs=1e-10)

    if training:
        assert set(batch_statistics) == {"q.net.norms.0", "q.couplings"}
        assert set(batch_norm.initial(model, "")) >= {
            f"{k}.{v}" for k in batch_statistics for v in ("mean", "variance")
        }


def test_couplings_start_with_the_size_that_the_normalisation_sets():
    model = models.build(
        {"name": "rbm_posterior", "latents": 18, "layers": 1, "units": 50},
        DataInfo(torch.zeros(30)),
    )
    models.start(model, {"init": "fan_in", "init_scale": 0.1}, 0)
    x = (torch.rand(500, 30, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    # Couplings over spins; over bits they are four times as large.
    j = model.posterior(x, {}).w.detach() / 4

    assert j.mean(0).abs().max() < 1e-5
    # 0.01 added to the variance takes a little.
    assert float(j.std()) == pytest.approx(1.5 / math.sqrt(9), rel=0.03)


def test_log_densities_are_the_energies_of_the_two_machines():
    """Every state beside every example. Less the machine's log Z, its probabilities sum to 1."""
    model = built()
    x = data()
    states = torch.tensor([a + b for a, b in sides(2, 3)], dtype=torch.float64)
    z = states.unsqueeze(1).expand(-1, CASES, -1)
    posterior = model.posterior(x)
    log_q = model.log_posterior([z], x)
    log_p = model.log_joint_terms(x, [z])[1]

    # The posterior has a machine for each example, the prior one for all.
    posteriors = [(log_q[:, b], RBM(*(v[b] for v in posterior))) for b in range(CASES)]

    for values, rbm in (*posteriors, *((log_p[:, b], model.prior()) for b in range(CASES))):
        b1, b2, w = (v.tolist() for v in rbm)
        for value, (z1, z2) in zip(values.tolist(), sides(2, 3), strict=True):
            negative_energy = sum(b1[i] * z1[i] for i in range(2)) + sum(
                b2[k] * z2[k] for k in range(3)
            )
            negative_energy += sum(w[i][k] * z1[i] * z2[k] for i in range(2) for k in range(3))
            assert value == pytest.approx(negative_energy, abs=1e-11)

    sums = (log_q - boltzmann_exact.log_z(posterior)).exp().sum(0)

    torch.testing.assert_close(sums, torch.ones_like(sums))
    assert torch.equal(log_q, sum(model.log_posterior_terms([z], x)))

    # Samples may also come as the two sides of the machine.
    by_sides = [z[..., :2], z[..., 2:]]
    assert torch.equal(model.log_posterior(by_sides, x), log_q)
    assert torch.equal(model.log_joint(x, by_sides), model.log_joint(x, [z]))


def test_what_it_declares():
    model = built()
    assert model.facts.unnormalised == ("prior", "posterior")
    assert (model.sizes, model.posterior(data()).shape, model.prior().shape) == (
        [VISIBLE, 5],
        (CASES,),
        (),
    )
    assert not isinstance(model, SampledPosterior)


def test_weight_decay_spares_the_scale_of_the_couplings():
    model = built()
    names = {name for name, p in model.named_parameters() if any(p is d for d in model.decayed())}
    assert names == {
        "p.prior.w",
        *(
            f"{net}.{name}"
            for net in ("p.decoder.net", "q.net")
            for name in ("dense.0.weight", "norms.0.scale")
        ),
        *("p.decoder.output.weight", "q.output.weight"),
    }


def test_cases_are_independent_and_batches_of_models_are_too():
    model = built()
    x = data()
    together = model.posterior(x)
    for part, parameter in zip(model.posterior(x[2:4]), together, strict=True):
        torch.testing.assert_close(part, parameter[2:4])
    # Two models in one batch, the second with doubled parameters. functional_call calls forward.
    model.forward = model.posterior
    params = {k: torch.stack([v, 2 * v]) for k, v in model.named_parameters()}
    packed = vmap(lambda p: torch.func.functional_call(model, p, (x,)))(params)

    # The first is the model itself; the second differs, so both parameters were used.
    for of_both, of_first in zip(packed, together, strict=True):
        torch.testing.assert_close(of_both[0], of_first)
        assert not torch.allclose(of_both[1], of_first)


@pytest.mark.parametrize("latents", [1, 2.0, True])
def test_bad_sizes(latents):
    with pytest.raises(UserError, match=r"model\.latents="):
        built(latents=latents)
