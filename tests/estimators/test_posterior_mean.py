"""Posterior means by quadrature against closed forms; the NLL and the bound on a model with closed
forms."""

from __future__ import annotations

import pytest
import torch

from vaebench.check import checks as check
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.estimators.importance_weighted import importance
from vaebench.estimators.posterior_mean import encoder_mean, posterior_mean
from vaebench.estimators.variational import bound
from vaebench.models.base import GaussianPosterior
from vaebench.models.linear_gaussian import LinearGaussian

X = torch.randn(130, check.VISIBLE, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


class Encoding(GaussianPosterior, LinearGaussian):
    """A linear Gaussian model with the interface of models that encode once."""

    def encode(self, x, tape=None):
        mean, log_sd = self._posterior(x)
        return mean, (2 * log_sd).expand_as(mean)

    def log_likelihood(self, x, z, drop=None, tape=None):
        return LinearGaussian.log_joint_terms(self, x, z)[0]


@pytest.fixture
def model():
    return made(1)


def made(latents):
    model = Encoding(DataInfo(torch.linspace(0.2, 0.7, check.VISIBLE)), [latents]).double()
    randomize(model, 5, 0.5)
    return model.requires_grad_(False)


def conjugate(model, x):
    """E[z | x] and Var[z | x] of z ~ N(0, 1), x ~ N(w z + b, s^2 I)."""
    w = model.p["weight"][:, 0]
    b = model.p["bias"]
    s2 = torch.exp(2 * model.p["log_sd"])
    precision = 1 + w @ w / s2
    return (x - b) @ w / s2 / precision, 1 / precision


def test_by_conjugacy(model):
    """For a Gaussian posterior the sum over the grid is exact but for terms of exp(-2 (pi sd /
    step)^2)."""
    expected, variance = conjugate(model, X)
    # The data matter: the posterior is not the prior, and the means differ.
    assert variance < 0.9
    assert expected.std() > 0.3
    torch.testing.assert_close(posterior_mean(model, X), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(posterior_mean(model, X, step=0.1), expected, rtol=0, atol=1e-9)


def test_chunks_do_not_change_it(model):
    expected = posterior_mean(model, X, step=0.1)
    for chunk in (10, 130, 10_000):
        torch.testing.assert_close(
            posterior_mean(model, X, step=0.1, chunk=chunk), expected, rtol=0, atol=1e-12
        )


def test_the_grid_has_both_ends(model):
    """With two points the mean is that of the weights p(x, -1) and p(x, 1) alone."""
    z = torch.tensor([-1.0, 1.0], dtype=torch.float64)[:, None, None].expand(-1, len(X), 1)
    weights = torch.softmax(model.log_joint(X, [z]), 0)

    torch.testing.assert_close(
        posterior_mean(model, X, low=-1.0, high=1.0, step=2.0), weights[1] - weights[0]
    )
    torch.testing.assert_close(
        posterior_mean(model, X, low=-1.0, high=1.5, step=2.0), weights[1] - weights[0]
    )


def test_a_grid_that_misses_the_mass_shows(model):
    assert (posterior_mean(model, X, low=5.0, high=20.0) >= 5).all()


def test_encoder_means(model):
    torch.testing.assert_close(encoder_mean(model, X), model._posterior(X)[0][:, 0])
    assert encoder_mean(model, X).shape == (130,)


def test_what_has_no_scalar_latent():
    for unfit in (made(2), check.tiny({"name": "sbn", "dims": [1]})):
        for measure in (posterior_mean, encoder_mean):
            with pytest.raises(UserError, match="one Gaussian latent"):
                measure(unfit, X)


@pytest.mark.parametrize("grid", [{"step": 0.0}, {"low": 3.0, "high": 3.0}, {"step": 50.0}])
def test_grids_without_points(model, grid):
    with pytest.raises(UserError, match="at least two points"):
        posterior_mean(model, X, **grid)


# -------------------------------------------------------- the NLL and the bound by the closed forms


@pytest.fixture
def wide():
    """Two latents, and a posterior wide enough for weights of finite variance."""
    model = made(2)
    model.q["weight"].mul_(0.3)
    model.q["log_sd"].fill_(0.1)
    model.p["weight"].mul_(0.5)
    model.p["log_sd"].zero_()
    return model


def test_importance_weighted_nll_in_closed_form(wide):
    """z is above 4.5 by chance once in 150,000 seeds. Half the squared error of a case is the bias
    that is left."""
    got = importance(wide, X, 2000, 0)
    expected = -float(wide.log_evidence(X).mean())

    assert abs(got.nll - expected) < 4.5 * got.error + 0.5 / got.ess_min
    assert got.error < 0.005


def test_one_sample_is_minus_the_elbo_in_expectation(wide):
    """Mean over 200 repetitions of 130 cases: z is above 4.5 by chance once in 150,000 seeds. The
    KL of the bound is exact."""
    expected = float(wide.elbo(X).mean())
    nlls = torch.tensor(
        [importance(wide, X, 1, seed).nll for seed in range(200)], dtype=torch.float64
    )

    assert abs(float(nlls.mean()) + expected) < 4.5 * float(nlls.std()) / 200**0.5 < 0.05

    got = bound(wide, X, 200, 0)
    assert abs(got.value - expected) < 4.5 * got.error < 0.05
    assert expected < float(wide.log_evidence(X).mean()) - 0.2

    # KL(N(mean, sd^2) || N(0, 1)) in closed form.
    mean, log_sd = wide._posterior(X)
    kl = 0.5 * (mean.square() + torch.exp(2 * log_sd) - 1 - 2 * log_sd).sum(-1).mean()

    assert got.kl == [pytest.approx(float(kl), rel=1e-10)]
