"""What every model must keep: shapes, terms, determinism, independence of cases and samples,
probabilities."""

from __future__ import annotations

import itertools

import pytest
import torch

from vaebench import models
from vaebench.data.kinds import Kind
from vaebench.estimators import exact
from vaebench.models.base import (
    Ancestral,
    BoltzmannPosterior,
    BoltzmannPrior,
    EnergyModel,
    ExactModel,
    GaussianPosterior,
    LatentModel,
    MeanVisibles,
    SampledPosterior,
)
from vaebench.models.dlgm import DLGM
from vaebench.models.rbm_vae_gaussian import RBMVAEGaussian
from vaebench.protocol.families import FAMILIES
from vaebench.protocol.log_z import side_of

K = 4


def sampled(model, x, draw, seed=0):
    """Posterior samples; fair bits for a model whose posterior cannot be sampled at once."""
    if isinstance(model, SampledPosterior):
        return model.sample_posterior(x, K, draw(model.posterior_noise(K, len(x)), seed))
    shapes = {str(i): ("uniform", (K, len(x), n)) for i, n in enumerate(model.sizes[1:])}
    return [(u < 0.5).float() for u in draw(shapes, seed).values()]


def needs(model, kind):
    if not isinstance(model, kind):
        pytest.skip(f"no {kind.__name__}")


def binary(case):
    if FAMILIES[case.model["name"]].latent != "binary":
        pytest.skip("only binary units can be enumerated")


def sequences(model, tokens):
    """The counts of every sequence of ``tokens`` words, one row for each sequence."""
    words = torch.eye(model.sizes[0], dtype=torch.float64)
    return torch.stack([sum(chosen) for chosen in itertools.product(words, repeat=tokens)])


def sees(model, x, z):
    """Whether the model's density depends on the data: not if the model is a known p(z)."""
    return bool(model.log_joint_terms(x, z)[0].any())


def test_a_model_without_tiny_settings_of_its_own_fails(monkeypatch, request):
    # The cases are made in conftest.py, which a test module cannot import: reach it through pytest.
    cases = next(p for p in request.config.pluginmanager.get_plugins() if hasattr(p, "model_cases"))
    assert {case.model["name"] for case in cases.model_cases()} == set(FAMILIES)

    # Those of the class that it derives from do not count.
    monkeypatch.delattr(RBMVAEGaussian, "tiny")
    (case,) = [case for case in cases.model_cases() if case.missing]
    with pytest.raises(pytest.fail.Exception, match=r"model RBMVAEGaussian has no tiny settings"):
        case.build()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_says_of_its_class_what_the_class_is(name):
    """The facts of a family, which are known without torch and are part of the protocol, agree with
    the kinds that its class derives from."""
    facts = FAMILIES[name]
    cls = models.model_class(name)
    assert cls.facts is facts
    assert facts.latent in ("binary", "gaussian", "none")
    assert issubclass(cls, LatentModel) == (facts.latent != "none")
    assert issubclass(cls, ExactModel) == facts.exact
    assert issubclass(cls, GaussianPosterior) == facts.encoded

    kinds = {"prior": BoltzmannPrior, "posterior": BoltzmannPosterior, "evidence": EnergyModel}
    assert facts.unnormalised == tuple(
        side for side, kind in kinds.items() if issubclass(cls, kind)
    )


def test_declares_what_it_is(model_case):
    model = model_case.build()
    assert isinstance(model.reparameterised, bool)
    assert model.sizes[0] == len(model.mean)
    assert all(name.startswith(("p.", "q.")) for name, _ in model.named_parameters())

    shapes = model.posterior_noise(1, 1) if isinstance(model, SampledPosterior) else {}
    shapes |= model.joint_noise(1) if isinstance(model, Ancestral) else {}
    assert {kind for kind, _ in shapes.values()} <= {"uniform", "normal"}


def test_its_machines_have_the_sizes_that_the_protocol_supposes(model_case, x):
    model = model_case.build()
    if isinstance(model, BoltzmannPrior):
        assert model.prior().shape == ()
        assert min(model.prior().w.shape) == side_of({"model": model_case.model})

    if isinstance(model, BoltzmannPosterior):
        assert model.posterior(x).shape == (len(x),)
        assert model.posterior(x).w.shape[1:] == model.prior().w.shape


def test_shapes_and_dtypes(model_case, x, draw):
    model = model_case.build()
    z = sampled(model, x, draw)
    assert [tuple(v.shape) for v in z] == [(K, len(x), n) for n in model.sizes[1:]]

    for value in (model.log_posterior(z, x), model.log_joint(x, z)):
        assert value.shape == (K, len(x))
        assert value.dtype == torch.float32

    if model.facts.latent == "binary":
        assert all(set(v.unique().tolist()) <= {0.0, 1.0} for v in z)


def test_shapes_of_dreams(model_case, x, draw):
    model = model_case.build()
    needs(model, Ancestral)
    dream, h = model.sample_joint(draw(model.joint_noise(3)))

    assert dream.shape == x[:3].shape
    assert [tuple(v.shape) for v in h] == [(1, 3, n) for n in model.sizes[1:]]
    assert model.log_joint(dream, h).shape == (1, 3)

    if model_case.kind is Kind.COUNTS:
        assert torch.equal(dream, dream.round())
        assert len(set(dream.sum(-1).tolist())) == 1

        # A dream of given documents is as long as they are.
        as_long, _ = model.dream(x, draw(model.dream_noise(len(x))))
        assert torch.equal(as_long.sum(-1), x.sum(-1))

    bits = [dream, *h] if model.draws_bits else h
    if model.facts.latent == "binary":
        assert all(set(v.unique().tolist()) <= {0.0, 1.0} for v in bits)


def test_log_densities_are_the_sums_of_their_terms(model_case, x, draw):
    model = model_case.build()
    z = sampled(model, x, draw)
    log_p = model.log_joint_terms(x, z)
    log_q = model.log_posterior_terms(z, x)
    # A Boltzmann prior does not fall into layers.
    terms = 1 if model.facts.unnormalised else len(model.sizes) - 1

    assert len(log_p) == terms + 1  # the data, then one prior term per layer
    assert len(log_q) == terms
    torch.testing.assert_close(sum(log_p), model.log_joint(x, z))
    torch.testing.assert_close(sum(log_q), model.log_posterior(z, x))


@pytest.mark.parametrize("which", ["posterior", "joint"])
def test_the_noise_that_is_declared_is_the_noise_that_is_used(model_case, x, draw, which):
    """Every declared tensor matters. One that is used but not declared would be a KeyError."""
    model = model_case.build()
    needs(model, SampledPosterior if which == "posterior" else Ancestral)
    shapes = model.posterior_noise(K, len(x)) if which == "posterior" else model.joint_noise(len(x))

    def sample(noise):
        if which == "posterior":
            return model.sample_posterior(x, K, noise)
        dream, h = model.sample_joint(noise)
        return [dream, *h]

    noise = draw(shapes, 0)
    other_noise = draw(shapes, 1)

    assert all(tuple(v.shape) == shapes[name][1] for name, v in noise.items())

    # Changing one tensor of the noise must change the sample.
    before = sample(noise)

    for name in shapes:
        after = sample({**noise, name: other_noise[name]})
        assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)), name


def test_samples_are_a_function_of_their_noise(model_case, x, draw):
    model = model_case.build()
    needs(model, SampledPosterior)
    z, repeated, other_seed = (sampled(model, x, draw, s) for s in (0, 0, 1))

    assert all(torch.equal(a, b) for a, b in zip(z, repeated, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(z, other_seed, strict=True))

    if isinstance(model, Ancestral):
        shapes = model.joint_noise(8)
        assert torch.equal(model.sample_joint(draw(shapes))[0], model.sample_joint(draw(shapes))[0])


def test_a_case_does_not_see_the_rest_of_the_batch(model_case, x, draw):
    model = model_case.build()

    # Only the example of row 3 changes.
    changed = x.clone()
    changed[3] = changed[1] if model_case.tokens else 1 - changed[3]
    z = sampled(model, x, draw)
    z_of_changed = sampled(model, changed, draw)
    rest = [i for i in range(len(x)) if i != 3]

    assert all(torch.equal(a[:, rest], b[:, rest]) for a, b in zip(z, z_of_changed, strict=True))

    if sees(model, x, z):
        assert not torch.allclose(
            model.log_joint(x, z)[:, 3], model.log_joint(changed, z_of_changed)[:, 3]
        )
    for f in (model.log_joint, lambda v, h: model.log_posterior(h, v)):
        torch.testing.assert_close(f(x, z)[:, rest], f(changed, z_of_changed)[:, rest])


def test_samples_of_a_case_do_not_see_one_another(model_case, x, draw):
    model = model_case.build()
    needs(model, SampledPosterior)
    noise, other_noise = (draw(model.posterior_noise(K, len(x)), s) for s in (0, 1))

    # Only the noise of the third sample changes.
    mixed = {name: torch.cat([v[:2], other_noise[name][2:3], v[3:]]) for name, v in noise.items()}
    z = model.sample_posterior(x, K, noise)
    z_mixed = model.sample_posterior(x, K, mixed)
    rest = [0, 1, 3]

    assert any(not torch.equal(a[2], b[2]) for a, b in zip(z, z_mixed, strict=True))
    assert all(torch.equal(a[rest], b[rest]) for a, b in zip(z, z_mixed, strict=True))


def test_extreme_parameters_give_finite_densities_and_gradients(model_case, x, draw):
    model = model_case.build()

    # Not the parameters that give a variance: of Gaussians a log standard deviation of 300
    # overflows by definition.
    with torch.no_grad():
        for name, p in model.named_parameters():
            # The states of an LSTM are bounded.
            to_variance = "q.output" if model_case.tokens else "q."
            of_variance = isinstance(model, (GaussianPosterior, DLGM)) and name.startswith(
                to_variance
            )
            if not (of_variance or name.endswith("log_sd") or "log_var" in name):
                p.mul_(300.0)

    z = sampled(model, x, draw)
    value = (model.log_joint(x, z) + model.log_posterior(z, x)).sum()

    assert torch.isfinite(value)

    for name, p in model.named_parameters():
        # What shapes a relaxation of the bits only has no part in the densities of hard ones.
        (g,) = torch.autograd.grad(value, p, retain_graph=True, materialize_grads=True)
        assert torch.isfinite(g).all(), name


def test_float32_and_float64_agree(model_case, x, draw):
    model = model_case.build()
    z = sampled(model, x, draw)
    single = [model.log_joint(x, z), model.log_posterior(z, x)]
    model.double()
    x = x if model_case.tokens else x.double()
    z = [v.double() for v in z]

    for a, b in zip(single, [model.log_joint(x, z), model.log_posterior(z, x)], strict=True):
        assert b.dtype == torch.float64
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_probabilities_sum_to_one(model_case):
    binary(model_case)

    # All data and all latents. For counts: all sequences of three tokens.
    model = model_case.build(seed=3).double()
    x = (
        sequences(model, tokens=3)
        if model_case.kind is Kind.COUNTS
        else exact.states(model.sizes[0])
    )
    z = [h.expand(-1, len(x), -1) for h in exact.latent_states(model)]
    total = float(exact.log_evidence(model, x).exp().sum())

    if sees(model, x, z):
        assert total == pytest.approx(1.0, abs=1e-12)
    else:
        # A known p(z) stands for the data's part; its numbers were made in float32.
        assert total / len(x) == pytest.approx(1.0, abs=1e-7)

    # The posterior of every example sums to one over all latents.
    sums = (model.log_posterior(z, x) - exact.log_z(model, x)[1]).exp().sum(0)

    torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-12)


def test_units_above_do_not_touch_the_terms_below(model_case, x, draw):
    """log P(h_{i-1} | h_i) and log Q(h_i | h_{i-1}) change with the two layers they
    name and with no other."""
    binary(model_case)
    model = model_case.build()
    z = sampled(model, x, draw)
    if len(z) != len(model.log_posterior_terms(z, x)) or not sees(model, x, z):
        pytest.skip("one term holds all latents, or no data")
    before = model.log_joint_terms(x, z), model.log_posterior_terms(z, x)

    for i in range(len(z)):
        changed = [1 - v if j == i else v for j, v in enumerate(z)]
        after = model.log_joint_terms(x, changed), model.log_posterior_terms(changed, x)
        for terms, new_terms in zip(before, after, strict=True):
            # Besides its own term layer i is in one more: of the model that of the layer below, of
            # the posterior that of the layer above.
            changed_terms = [
                not torch.allclose(a, b) for a, b in zip(terms, new_terms, strict=True)
            ]
            assert changed_terms == [j in (i, i + 1) for j in range(len(terms))]


def test_means_of_pixels_are_those_of_its_likelihood(model_case, x, draw):
    """The means of bits give the likelihood itself. A Gaussian is symmetric about its mean."""
    model = model_case.build().double()
    needs(model, MeanVisibles)
    x = x.double()
    z = [v.double() for v in sampled(model, x, draw)]
    mean = model.visible_mean(z)

    if model.draws_bits:
        log_p = x * mean.log() + (1 - x) * torch.log1p(-mean)
        torch.testing.assert_close(model.log_joint_terms(x, z)[0], log_p.sum(-1))
    else:
        # As far above the mean as below it: equal densities, lower than at the mean.
        offset = 0.3 * torch.linspace(-1, 2, model.sizes[0], dtype=mean.dtype)
        up, down = (
            model.log_joint_terms(v[0], [z[0][:1]])[0] for v in (mean + offset, mean - offset)
        )
        torch.testing.assert_close(up, down)
        assert (up < model.log_joint_terms(mean[0], [z[0][:1]])[0]).all()
