"""How far the relaxed Gibbs gradient of DVAE## is from the exact one, on images.

Under a trained model.

python scripts/gradient_bias.py RUN [--images 20] [--chains 4000]

RUN: a run of table=dvae_sharp_sharp_mcmc, row DVAE##, whose posteriors of 16 bits can be
enumerated. Writes results/reference/dvae_sharp_sharp_gradient_bias.csv: of every image's posterior,
at its trained parameters (biases and couplings, running averages in batch normalisation), the
gradient of the bound E_q[log p(x | z)] - KL(q || p):

exact : by enumeration, which is E_q of nothing but the bound's own derivative;
relaxed : the mean over chains that start from exact samples of q and take t relaxed
sweeps, as the rule has it.

Columns: ``relaxed_sweeps`` t and ``beta``; ``norm``, the length of the exact gradient (nats), its
root mean square over images; ``bias``, the length of the difference, by an estimate of its square
that chains' noise leaves unbiased, and ``noise``, that of one chain (the root of the trace of its
covariance), both root mean squares over images as multiples of ``norm``; ``least`` and ``most``,
the root of that square less and plus its standard error over images; ``cosine`` of the mean
gradient with the exact one, the median over images.
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
    """d/d machine of sum_z q(z) (terms - log q(z)), flat; ``terms`` (states,) of every state."""
    energy = machine.negative_energy(*states)
    log_q = energy - torch.logsumexp(energy, 0)
    value = (log_q.exp() * (terms - log_q)).sum()
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(machine))])


def relaxed_gradients(
    model: nn.Module, x: Tensor, machine: RBM, z1: Tensor, t: int, beta: float, seed: int
) -> Tensor:
    """The rule's gradient of each chain, (chains, numbers), from bits ``z1`` (chains, n1)."""
    k = len(z1)
    relax = chains.relaxation("piecewise_linear", beta)
    # A machine for each chain.
    many = RBM(*(p.detach().expand(k, *p.shape).clone().requires_grad_() for p in machine))
    shapes = {
        "u2": ("uniform", (t, 1, k, machine.b2.shape[-1])),
        "u1": ("uniform", (t, 1, k, z1.shape[-1])),
    }
    u = {name: v.to(z1.dtype) for name, v in noise.fixed(shapes, seed, "check", t).items()}
    end = chains.relaxed_sweeps(many, z1.unsqueeze(0), relax, u["u2"], u["u1"])
    stopped = many.detach()
    gain = bernoulli.log_prob(x, model.decode([end.zeta1, end.zeta2]))
    gain = (
        gain
        + model.prior().negative_energy(end.mean1, end.zeta2)
        - stopped.negative_energy(end.mean1, end.zeta2)
    )
    grads = torch.autograd.grad(gain.sum(), list(many))
    return torch.cat([g.reshape(k, -1) for g in grads], 1)


def compared(exact: Tensor, each: Tensor) -> tuple[float, float, float, float]:
    """Of one image: squares of three lengths, and the cosine.

    The exact gradient's, the bias's and one chain's noise's.
    """
    mean = each.mean(0)
    variance = float(each.var(0).sum())
    square = float((mean - exact).square().sum()) - variance / len(each)
    return (
        float(exact.square().sum()),
        square,
        variance,
        float(torch.cosine_similarity(mean, exact, dim=0)),
    )


def line(rows: list[tuple[float, ...]]) -> list[str]:
    """norm, bias, least, most, noise and cosine.

    The error of the ratio of means over images by the delta method.
    """
    own, bias, variance, cosine = torch.tensor(rows, dtype=torch.float64).T
    ratio = float(bias.mean() / own.mean())
    error = float((bias - ratio * own).std() / len(rows) ** 0.5 / own.mean())
    roots = [max(v, 0.0) ** 0.5 for v in (ratio, ratio - error, ratio + error)]
    values = [
        float(own.mean()) ** 0.5,
        *roots,
        float(variance.mean() / own.mean()) ** 0.5,
        float(cosine.median()),
    ]
    return [f"{v:.4g}" for v in values]


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
    every = boltzmann_exact.states(units, model.mean, 0, 2**units)
    states = tuple(every.split(units // 2, 1))
    found: dict[tuple[int, float], list[tuple[float, ...]]] = {s: [] for s in SETTINGS}
    with torch.no_grad():
        logits = model.decode([every])
        shared = model.prior().negative_energy(*states) - torch.nn.functional.softplus(
            logits,
        ).sum(-1)
        likelihoods = images @ logits.mT + shared
    for i, (x, terms) in enumerate(zip(images, likelihoods, strict=True)):
        batched = model.posterior(x.unsqueeze(0))
        machine = RBM(*(p[0].detach().requires_grad_() for p in batched))
        exact = exact_gradient(terms, states, machine)
        with torch.no_grad():
            q = torch.softmax(machine.negative_energy(*states), 0)
            picked = torch.multinomial(
                q, args.chains, True, generator=torch.Generator().manual_seed(i)
            )
        for setting in SETTINGS:
            each = relaxed_gradients(model, x, machine, states[0][picked], *setting, seed=i)
            found[setting].append(compared(exact, each))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("norm", "bias", "least", "most", "noise", "cosine")
    writer.writerow(["run", "updates", "images", "chains", "relaxed_sweeps", "beta", *columns])
    for (t, beta), rows in found.items():
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
    files.write_atomic(REFERENCE / "dvae_sharp_sharp_gradient_bias.csv", text.getvalue())
    print(text.getvalue(), end="")


if __name__ == "__main__":
    main()
