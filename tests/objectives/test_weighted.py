"""The annealed importance-weighted bound: its gradient estimators against the derivative of the
bound by quadrature.

With noise at the nodes of a quadrature rule and their weights, the mean of an estimator is a sum:
nothing is random.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from kit.draws import f64
from torch.func import grad, vmap

from vaebench.errors import UserError
from vaebench.objectives import weighted

GAMMAS = (0.0, 0.3, 0.7, 1.0)
X = 0.7


def hermite(points: int, dims: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes (points^dims, dims) and weights of a standard normal in so many dimensions."""
    # Gauss-Hermite nodes and weights of one dimension; those of several are their products.
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(points))
    grid = torch.cartesian_prod(*[nodes] * dims).reshape(-1, dims)
    return grid, torch.cartesian_prod(*[weights / math.sqrt(2 * math.pi)] * dims).reshape(
        -1,
        dims,
    ).prod(-1)


def normal(v, mean, log_sd):
    return -0.5 * ((v - mean) / log_sd.exp()) ** 2 - log_sd - 0.5 * math.log(2 * math.pi)


# phi: mean and log sd of z1; slope, offset and log sd of z2 given z1.
# theta: means of z1 and z2 under the prior; slope and log sd of x.
PHI = f64(0.3, -0.25, 0.9, -0.3, -0.5)
THETA = f64(-0.2, 0.3, 0.8, 0.2)


def toy(phi, theta, e, gamma, estimator, groups=1, stop=weighted.through_inputs):
    """Bound and one-sample bound, () each, of one example with noise ``e`` (groups, k).

    The posterior is a chain of Gaussians: z2 has the mean a z1 + c.
    """
    # Samples carry phi in any case; densities only in the plain estimator.
    z1 = phi[0] + phi[1].exp() * e[0]
    z = [z1] if groups == 1 else [z1, phi[2] * z1 + phi[3] + phi[4].exp() * e[1]]
    density_phi = phi if estimator == "plain" else phi.detach()
    mean2 = lambda v: phi[2] * v + phi[3]  # noqa: E731

    def terms(z):
        z = [v[:, 0, 0] for v in z]
        log_p = normal(z[0], theta[0], f64(0.1))
        log_q = normal(z[0], density_phi[0], density_phi[1])
        if groups == 2:
            log_p = log_p + normal(z[1], theta[1], f64(0.0))
            log_q = log_q + normal(
                z[1], mean2(z[0]) if estimator == "plain" else stop(mean2, z[0]), density_phi[4]
            )

        return normal(f64(X), theta[2] * sum(z), theta[3])[:, None], (log_p - log_q)[:, None]

    value, single = weighted.bound(terms, [v[:, None, None] for v in z], gamma, estimator)
    return value.sum(), single.sum()


def gradients(gamma, estimator, k, points, groups=1, **more):
    """Nodes' gradients by phi and theta, (nodes, 9), and the weights of the nodes."""
    nodes, weight = hermite(points, k * groups)
    gamma = f64(gamma)[0]

    def at(phi, theta, e):
        return toy(phi, theta, e, gamma, estimator, groups, **more)[0]

    by_phi, by_theta = vmap(grad(at, (0, 1)), (None, None, 0))(
        PHI, THETA, nodes.reshape(-1, groups, k)
    )
    return torch.cat([by_phi, by_theta], 1), weight


def annealed(phi, theta, e, gamma, groups):
    """The bound from its definition, by torch's own distributions, and the log-weights."""
    normal_ = torch.distributions.Normal

    q1 = normal_(phi[0], phi[1].exp())
    z1 = q1.loc + q1.scale * e[0]
    log_p = normal_(theta[0], math.exp(0.1)).log_prob(z1)
    log_q = q1.log_prob(z1)
    total = z1

    # sd of the prior of z1: exp(0.1), of z2: 1.
    if groups == 2:
        q2 = normal_(phi[2] * z1 + phi[3], phi[4].exp())
        z2 = q2.loc + q2.scale * e[1]
        log_p = log_p + normal_(theta[1], 1.0).log_prob(z2)
        log_q = log_q + q2.log_prob(z2)
        total = z1 + z2

    log_w = normal_(theta[2] * total, theta[3].exp()).log_prob(f64(X)) + gamma * (log_p - log_q)
    return log_w.exp().mean().log(), log_w


def exact_gradient(gamma, k, points, groups=1, h=1e-4):
    """Central differences of the bound's mean, (9,), by phi and theta."""
    grid, weight = hermite(points, k * groups)
    parameters = torch.cat([PHI, THETA])

    def mean(p):
        return (
            vmap(lambda e: annealed(p[:5], p[5:], e, gamma, groups)[0])(grid.reshape(-1, groups, k))
            * weight
        ).sum()

    return torch.stack(
        [
            (mean(parameters + h * d) - mean(parameters - h * d)) / (2 * h)
            for d in torch.eye(9, dtype=parameters.dtype)
        ]
    )


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize(("k", "points"), [(1, 40), (2, 30), (3, 20)])
def test_the_mean_of_both_estimators_is_the_bounds_gradient(k, points, gamma):
    """And where q is near the posterior the doubly reparameterised one has less variance."""
    wanted = exact_gradient(gamma, k, points)
    sd = {}

    # The estimator's mean over the nodes, and its standard deviation.
    for estimator in weighted.ESTIMATORS:
        by_node, weight = gradients(gamma, estimator, k, points)
        mean = weight @ by_node
        torch.testing.assert_close(mean, wanted, rtol=1e-6, atol=1e-7)
        sd[estimator] = (weight @ (by_node - mean) ** 2).sqrt()

    # These belong to z1 and x, the others to z2, which one group lacks. At gamma 0 the prior has
    # no say, so the mean of z1 under it has no gradient; those of q and x are still there.
    assert wanted[[0, 1, 7, 8]].abs().min() > 0.01
    assert (wanted[5].abs() > 0.01) == (gamma > 0)

    plain = sd["plain"]
    double = sd["doubly_reparameterized"]

    # theta's gradients are the same.
    torch.testing.assert_close(plain[5:], double[5:])

    # Of phi only the parameters of z1 enter. Without the KL the two estimators are one.
    if gamma:
        assert (double[:2] < 0.5 * plain[:2]).all()
    else:
        torch.testing.assert_close(double, plain)


@pytest.mark.parametrize("gamma", [0.3, 1.0])
def test_a_hierarchical_posterior_needs_the_dependence_of_its_upper_densities_on_the_lower_samples(
    gamma,
):
    """Stopping the parameters of log q(z2 | z1) is right; stopping its mean
    altogether is biased with K > 1."""
    wanted = exact_gradient(gamma, 2, 12, groups=2)
    by_node, weight = gradients(gamma, "doubly_reparameterized", 2, 12, groups=2)

    torch.testing.assert_close(weight @ by_node, wanted, rtol=1e-3, atol=4e-4)

    # Without the mean's dependence on z1 the bias shows.
    all_stopped, _ = gradients(
        gamma, "doubly_reparameterized", 2, 12, groups=2, stop=lambda f, z: f(z).detach()
    )

    assert (weight @ all_stopped - wanted)[:2].abs().max() > 0.02


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_one_draw_is_the_formula(gamma, groups):
    """sum_i [(1 - gamma) w~_i + gamma w~_i^2] dlog w_i/dz_i dz_i/dphi, and sum_i w~_i dlog
    w_i/dtheta, term by term."""
    e = torch.randn(groups, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    phi = PHI.clone().requires_grad_()
    theta = THETA.clone().requires_grad_()

    value, _ = toy(phi, theta, e, gamma, "doubly_reparameterized", groups)
    got = torch.autograd.grad(value, [phi, theta], materialize_grads=True)
    bound, log_w = annealed(PHI, THETA, e, gamma, groups)

    torch.testing.assert_close(value, bound)

    # Sample by sample: the path through z_i alone, weighed as the formula says.
    share = torch.softmax(log_w, 0)
    by_phi = torch.zeros_like(PHI)
    for i in range(4):
        # Parameters of the sampler and, apart from them, of the density.
        parameters = [v.clone().requires_grad_() for v in (PHI, PHI)]
        z = [parameters[0][0] + parameters[0][1].exp() * e[0, i]]
        log_q = normal(z[0], parameters[1][0], parameters[1][1])
        log_p = normal(z[0], theta[0], f64(0.1))
        if groups == 2:
            z.append(parameters[0][2] * z[0] + parameters[0][3] + parameters[0][4].exp() * e[1, i])
            log_q = log_q + normal(
                z[1], parameters[1][2] * z[0] + parameters[1][3], parameters[1][4]
            )
            log_p = log_p + normal(z[1], theta[1], f64(0.0))

        log_w_of_sample = normal(f64(X), theta[2] * sum(z), theta[3]) + gamma * (log_p - log_q)
        (path,) = torch.autograd.grad(log_w_of_sample.sum(), parameters[0])
        by_phi += ((1 - gamma) * share[i] + gamma * share[i] ** 2) * path

    torch.testing.assert_close(got[0], by_phi)

    by_theta = torch.autograd.functional.jacobian(
        lambda t: annealed(PHI, t, e, gamma, groups)[1], THETA
    )

    torch.testing.assert_close(got[1], share @ by_theta)


@pytest.mark.parametrize("estimator", weighted.ESTIMATORS)
def test_values(estimator):
    """The bound with gamma, and the mean one-sample bound without; large
    log-weights do not overflow."""
    e = torch.randn(1, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    value, single = toy(PHI, THETA, e, 0.3, estimator)

    torch.testing.assert_close(value, annealed(PHI, THETA, e, 0.3, 1)[0])
    torch.testing.assert_close(single, annealed(PHI, THETA, e, 1.0, 1)[1].mean())
    assert not single.requires_grad

    # Weights far beyond what exp can hold.
    log_w = torch.tensor([[-3000.0, 500.0], [-3001.0, 501.0]])
    zero = torch.zeros(2, 2, 1)
    value, _ = weighted.bound(
        lambda z: (log_w, torch.zeros(2, 2)), [zero], torch.tensor(1.0), estimator
    )

    torch.testing.assert_close(value, torch.logsumexp(log_w, 0) - math.log(2))


def test_scaled_gradient_and_stopped_parameters():
    v, factor, w = (f64(a).requires_grad_() for a in (2.0, 5.0, 3.0))
    out = weighted.scale_gradient(v, factor.detach()) ** 2

    assert (out.item(), torch.autograd.grad(out, v)[0].item()) == (4.0, 20.0)

    out = weighted.through_inputs(lambda a: w * torch.sin(w * a), v)
    by_v, by_w = torch.autograd.grad(out, [v, w])

    torch.testing.assert_close(out.detach(), (w * torch.sin(w * v)).detach())
    torch.testing.assert_close(by_v, (w**2 * torch.cos(w * v)).detach())
    assert by_w.item() == 0.0
    assert not weighted.through_inputs(lambda: w * 1.0).requires_grad


def test_unknown_estimators():
    with pytest.raises(UserError, match=r"objective\.estimator='planar': did you mean 'plain'\?"):
        weighted.check("planar")
    with pytest.raises(ValueError, match="not one of"):
        weighted.bound(lambda z: (z[0], z[0]), [torch.zeros(1, 1, 1)], torch.tensor(1.0), "other")
