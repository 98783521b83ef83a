"""How far the relaxed Gibbs gradient of DVAE## is from the exact one, on images.

It is measured under a trained model.

python scripts/gradient_bias.py RUN [--images 20] [--chains 4000]

RUN: a run of table=dvae_sharp_sharp_mcmc, row DVAE##, whose posteriors of 16 bits can be
enumerated. Writes results/reference/dvae_sharp_sharp_gradient_bias.csv.

For every image the gradient of the bound E_q[log p(x | z)] - KL(q || p) is taken in the parameters
of its posterior, biases and couplings, under the trained model with the running averages of batch
normalisation:

- exact: by enumeration of all states;
- relaxed: the mean over chains that start from exact samples of q and make t relaxed sweeps, as
  the objective does.

Columns, where lengths are root mean squares over images:

- ``relaxed_sweeps``: t; ``beta``: the sharpness of the relaxation.
- ``norm``: the length of the exact gradient, nats.
- ``bias``: the length of the difference, as a multiple of ``norm``. Its square is estimated so that
  the chains' noise leaves it unbiased.
- ``least``, ``most``: the root of that square minus and plus its standard error over images.
- ``noise``: the length of one chain's noise (the root of the trace of its covariance), as a
  multiple of ``norm``.
- ``cosine``: that of the mean gradient with the exact one, the median over images.
"""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path

import torch
from torch import Tensor, nn

from vaebench import files
from vaebench.data.examples import every_nth
from vaebench.dists import bernoulli, boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.evaluation import trained_run as trained
from vaebench.objectives import chains
from vaebench.rng import noise

REFERENCE = Path(__file__).resolve().parent.parent / "results" / "reference"
SETTINGS = [(1, 4.0), (2, 4.0), (5, 4.0), (1, 2.0), (1, 10.0), (1, 20.0)]
"""(relaxed sweeps, beta of the piecewise-linear relaxation); the first is that of the runs."""


def exact_gradient(terms: Tensor, states: tuple[Tensor, Tensor], machine: RBM) -> Tensor:
    """Return the exact gradient of the bound in the parameters of one posterior, flat.

    The bound is sum_z q(z) (terms - log q(z)).

    Args:
        terms: log p(x, z) of every state but for log Z of the prior, (states,).
        states: Every state of both sides, (states, n) each.
        machine: The posterior, whose parameters need a gradient.
    """
    energy = machine.negative_energy(*states)
    # log q(z) = -E(z) - log Z_x, by enumeration.
    log_q = energy - torch.logsumexp(energy, 0)
    value = (log_q.exp() * (terms - log_q)).sum()
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(value, list(machine))])


def relaxed_gradients(
    model: nn.Module, x: Tensor, machine: RBM, z1: Tensor, t: int, beta: float, seed: int
) -> Tensor:
    """Return the objective's gradient by each chain, (chains, numbers).

    Args:
        model: The trained model.
        x: One image, (d,).
        machine: Its posterior.
        z1: Bits of side 1 in which the chains start, (chains, n1).
        t: Number of relaxed sweeps.
        beta: Sharpness of the relaxation.
        seed: Seed of the sweeps' noise.
    """
    k = len(z1)
    relax = chains.relaxation("piecewise_linear", beta)
    # A copy of the posterior for each chain, so that one backward pass gives every chain's own
    # gradient.
    machines = RBM(*(p.detach().expand(k, *p.shape).clone().requires_grad_() for p in machine))
    shapes = {
        "u2": ("uniform", (t, 1, k, machine.b2.shape[-1])),
        "u1": ("uniform", (t, 1, k, z1.shape[-1])),
    }
    uniform = {name: v.to(z1.dtype) for name, v in noise.fixed(shapes, seed, "check", t).items()}
    # One sample for each machine: values are (1, chains, n).
    end = chains.relaxed_sweeps(machines, z1.unsqueeze(0), relax, uniform["u2"], uniform["u1"])

    # DVAE##'s objective with one sample, rao-blackwellised: side 1 enters the energies, which are
    # linear in it, by its mean. No gradient passes through the posterior's parameters in its own
    # energy, because E_q[d log q] = 0 (see ``objectives.dvae_sharp_sharp``).
    stopped = machines.detach()
    gain = bernoulli.log_prob(x, model.decode([end.zeta1, end.zeta2]))
    gain = (
        gain
        + model.prior().negative_energy(end.mean1, end.zeta2)
        - stopped.negative_energy(end.mean1, end.zeta2)
    )
    grads = torch.autograd.grad(gain.sum(), list(machines))
    return torch.cat([g.reshape(k, -1) for g in grads], 1)


def compared(exact: Tensor, each: Tensor) -> tuple[float, float, float, float]:
    """Compare the gradients of one image.

    Args:
        exact: The exact gradient, (numbers,).
        each: The gradient of each chain, (chains, numbers).

    Returns:
        The squared lengths of the exact gradient, of the bias and of one chain's noise, and the
        cosine of the mean gradient with the exact one.
    """
    mean = each.mean(0)
    variance = float(each.var(0).sum())
    # The chains' noise adds variance / chains to the expected square, which is subtracted.
    squared_bias = float((mean - exact).square().sum()) - variance / len(each)
    return (
        float(exact.square().sum()),
        squared_bias,
        variance,
        float(torch.cosine_similarity(mean, exact, dim=0)),
    )


def line(rows: list[tuple[float, ...]]) -> list[str]:
    """Return norm, bias, least, most, noise and cosine as texts.

    The standard error of the ratio of means over images is by the delta method.
    """
    # Each is (images,).
    squared_norm, squared_bias, variance, cosine = torch.tensor(rows, dtype=torch.float64).T
    # A ratio of two means has the error of the mean residual, divided by the denominator's mean.
    ratio = float(squared_bias.mean() / squared_norm.mean())
    error = float(
        (squared_bias - ratio * squared_norm).std() / len(rows) ** 0.5 / squared_norm.mean()
    )
    bias_and_limits = [max(square, 0.0) ** 0.5 for square in (ratio, ratio - error, ratio + error)]
    values = [
        float(squared_norm.mean()) ** 0.5,
        *bias_and_limits,
        float(variance.mean() / squared_norm.mean()) ** 0.5,
        float(cosine.median()),
    ]
    return [f"{value:.4g}" for value in values]


def main() -> None:
    """One line per setting."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="the folder of a run, .../seed-0")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--chains", type=int, default=4000)
    args = parser.parse_args()

    run = trained.load(args.run)
    model = run.model.double()
    units = model.sizes[1]
    images = every_nth(torch.from_numpy(run.splits.test), args.images).double()
    all_states = boltzmann_exact.states(units, model.mean, 0, 2**units)
    states = tuple(all_states.split(units // 2, 1))
    rows_of: dict[tuple[int, float], list[tuple[float, ...]]] = {s: [] for s in SETTINGS}

    # log p(x, z) + log Z of every image and state, (images, states). The log-likelihood of bits is
    # x.l - sum softplus(l) for logits l, so one matrix product serves all pairs; ``shared`` is the
    # part of a state alone.
    with torch.no_grad():
        logits = model.decode([all_states])
        shared = model.prior().negative_energy(*states) - torch.nn.functional.softplus(
            logits,
        ).sum(-1)
        likelihoods = images @ logits.mT + shared

    for i, (x, terms) in enumerate(zip(images, likelihoods, strict=True)):
        batched = model.posterior(x.unsqueeze(0))
        machine = RBM(*(p[0].detach().requires_grad_() for p in batched))
        exact = exact_gradient(terms, states, machine)

        # Exact samples of q. All settings start from the same ones.
        with torch.no_grad():
            q = torch.softmax(machine.negative_energy(*states), 0)
            picked = torch.multinomial(
                q, args.chains, True, generator=torch.Generator().manual_seed(i)
            )
        for setting in SETTINGS:
            each = relaxed_gradients(model, x, machine, states[0][picked], *setting, seed=i)
            rows_of[setting].append(compared(exact, each))

    csv_text = io.StringIO()
    writer = csv.writer(csv_text, lineterminator="\n")
    columns = ("norm", "bias", "least", "most", "noise", "cosine")
    writer.writerow(["run", "updates", "images", "chains", "relaxed_sweeps", "beta", *columns])
    for (t, beta), rows in rows_of.items():
        writer.writerow(
            [
                args.run.resolve().parent.name,
                run.update,
                args.images,
                args.chains,
                t,
                beta,
                *line(rows),
            ]
        )

    files.write_atomic(REFERENCE / "dvae_sharp_sharp_gradient_bias.csv", csv_text.getvalue())
    print(csv_text.getvalue(), end="")


if __name__ == "__main__":
    main()
