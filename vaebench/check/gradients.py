"""Gradients of objectives compared with exact ones, found by enumeration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from vaebench import objectives
from vaebench.check.line import Line, mean_line
from vaebench.check.tiny import DRAWS, VISIBLE, double, randomize
from vaebench.estimators import exact
from vaebench.models.base import Model
from vaebench.models.linear_gaussian import LinearGaussian
from vaebench.models.posterior import total
from vaebench.objectives.base import Batch, Objective
from vaebench.objectives.iw_bound import IWBound
from vaebench.objectives.mdl import MDL
from vaebench.objectives.nvil import NVIL
from vaebench.objectives.wake_sleep import WakeSleep
from vaebench.rng import noise, seeds
from vaebench.training import engines as fast

PER_PASS = 4_000
"""Draws whose gradients are computed in one vectorised call."""


class _Moments(NamedTuple):
    """Sums over draws of a gradient.

    ``total`` sums its coordinates and ``square`` their squares; ``projected`` lists its components
    along the exact gradient.
    """

    total: Tensor
    square: Tensor
    projected: list[Tensor]


def gradients(name: str, objective: str, settings: dict[str, Any], model: Model) -> Iterator[Line]:
    """Compare the mean of an objective's gradient with the exact gradient of what it ascends.

    There is one line for each group of parameters. Running statistics are held fixed, at values
    that matter. The batch has four rows: three examples, one of them twice.
    """
    device = model.mean.device
    rule = objectives.build({"name": objective, **settings}, model).double()
    # The model has random parameters already; the baseline networks get theirs here.
    baseline = getattr(rule, "baseline", None)
    if baseline is not None:
        randomize(baseline, 6, 0.5)
    rule.to(device)

    state = frozen_state(rule)
    x = exact.states(VISIBLE)[[3, 5, 5, 10]].to(device)
    exact_by_group = exact_gradients(rule, state, x)

    # Sums over all draws, added up pass by pass. The projections, one number a draw, are kept:
    # their spread is the line's error.
    sums: dict[str, _Moments] = {}
    for by_group in sampled_gradients(rule, state, x):
        for group, per_draw in by_group.items():
            moments = sums.setdefault(
                group, _Moments(torch.zeros_like(per_draw[0]), torch.zeros_like(per_draw[0]), [])
            )
            moments.total.add_(per_draw.sum(0))
            moments.square.add_((per_draw**2).sum(0))

            # The clamp only matters for an exact gradient of 0: then every projection is 0.
            direction = exact_by_group[group] / exact_by_group[group].norm().clamp(min=1e-12)
            moments.projected.append(per_draw @ direction)

    for group, (summed, summed_squares, projected) in sums.items():
        # z of each coordinate, by the standard error of its mean. Coordinates that are the same
        # for all draws have no z: a mistake in them shows in the projection alone, and not there if
        # their exact value is 0.
        mean = summed / DRAWS
        error = ((summed_squares / DRAWS - mean**2).clamp(min=0) / DRAWS).sqrt()
        varies = error > 1e-12
        coordinate_z = (mean - exact_by_group[group])[varies] / error[varies]

        # The mean projection estimates the exact gradient's length.
        line = mean_line(
            f"{name}: gradient, {group}", float(exact_by_group[group].norm()), torch.cat(projected)
        )
        yield Line(line.name, line.exact, line.estimate, line.error, coordinate_z.cpu())


def frozen_state(rule: Objective) -> dict[str, Tensor]:
    """Return a state that stays as it is.

    Means and variances differ by layer. The decay of NVIL's statistics is set to one.
    """
    state = {k: v.double() for k, v in rule.state().items()}
    if "variance" in state:
        # Means other than 0 and variances above 1, so that centring and scaling take part. With a
        # decay of 1, a batch leaves the statistics as they are.
        layers = len(state["mean"])
        state = {
            "mean": -torch.arange(1.0, layers + 1).double(),
            "variance": torch.linspace(4.0, 9.0, layers).double(),
        }
        if isinstance(rule, NVIL):
            rule.decay = 1.0
    return {k: v.to(next(rule.parameters()).device) for k, v in state.items()}


def sampled_gradients(
    rule: Objective, state: dict[str, Tensor], x: Tensor, draws: int = DRAWS, stream_index: int = 0
) -> Iterator[dict[str, Tensor]]:
    """Yield gradients of the objective (ascent direction) for independent noise.

    Each item maps a group to its gradients (PER_PASS, coordinates).
    """
    params = {name: v.detach() for name, v in rule.named_parameters()}
    group_of = fast.group_of(rule)
    batch = Batch(x, torch.arange(len(x), device=x.device))

    # An objective gives its loss first, which it descends.
    def loss(p: dict[str, Tensor], draw: dict[str, Tensor]) -> Tensor:
        return functional_call(rule, p, (state, batch, draw))[0]

    # One gradient per draw of the noise, at the same parameters: name -> (PER_PASS, *shape).
    gradient_of_draws: Callable[..., dict[str, Tensor]] = vmap(grad(loss), in_dims=(None, 0))
    for i in range(draws // PER_PASS):
        generator = torch.Generator(x.device).manual_seed(seeds.derive(0, "check", stream_index, i))
        gradient_of = gradient_of_draws(
            params, double(noise.draw(rule.noise(len(x)), generator, (PER_PASS,)))
        )
        yield {
            group: torch.cat(
                [
                    -gradient_of[name].reshape(PER_PASS, -1)
                    for name in gradient_of
                    if group_of[name] == group
                ],
                1,
            )
            for group in rule.groups()
            if group in group_of.values()
        }


def exact_gradients(rule: Objective, state: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """Return the exact gradient of each group's own objective.

    It is flattened in the order of the parameters' names. With fixed statistics, NVIL's inference
    layer i follows the gradient of the bound divided by max(1, sqrt(v_i)). The gradient of MDL does
    not follow a bound: see ``_code_gradients``. Raises ValueError if no exact gradient is known.
    """
    if isinstance(rule, NVIL):
        values = _grad(rule, exact.elbo(rule.model, x).sum())
        # Centring the signal of layer i does not change its mean gradient; dividing by a fixed
        # scale divides it.
        for i in range(rule.model.layers):
            scale = (
                state["variance"][i].sqrt().clamp(min=1.0) if rule.variance_normalization else 1.0
            )
            for name in values:
                if name.startswith(f"model.q.{i}."):
                    values[name] = values[name] / scale
        if rule.baseline is not None:
            values.update(_baseline_gradients(rule, state, x))

    elif isinstance(rule, WakeSleep):
        values = _grad(rule, exact.expected_log_joint(rule.model, x).sum())
        # The sleep phase dreams as many examples as the batch has.
        sleep = _grad(rule, exact.expected_log_posterior(rule.model).to(x.device) * len(x))
        values.update(
            {name: gradient for name, gradient in sleep.items() if name.startswith("model.q.")}
        )

    elif isinstance(rule, MDL) and rule.model.layers == 1:
        values = _grad(rule, exact.expected_log_joint(rule.model, x).sum())
        values.update(_code_gradients(rule, x))

    elif isinstance(rule, IWBound) and isinstance(rule.model, LinearGaussian) and rule.samples == 1:
        values = _grad(rule, rule.model.elbo(x).sum())

    else:
        raise ValueError(f"no exact gradient is known for {type(rule).__name__}")

    # The same order of coordinates as in ``sampled_gradients``: that of ``named_parameters``.
    group_of = fast.group_of(rule)
    out: dict[str, list[Tensor]] = {}
    for name, gradient in values.items():
        out.setdefault(group_of[name], []).append(gradient.reshape(-1))
    return {group: torch.cat(gradients) for group, gradients in out.items()}


def _grad(rule: nn.Module, value: Tensor) -> dict[str, Tensor]:
    named = dict(rule.named_parameters())
    gradients = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(named.items(), gradients, strict=True)
    }


def _baseline_gradients(rule: NVIL, state: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """Return minus the gradient of E_Q[(l_i - C_i - c_i)^2] / 2, by enumeration.

    It is divided by the scale of the learning signal.
    """
    model = rule.model
    z = [h.to(x.device).expand(-1, len(x), -1) for h in exact.latent_states(model)]

    # Terms by layer; the weight Q(h | x) and each term are (states, batch). Q is held fixed: the
    # baselines do not change it.
    with torch.no_grad():
        log_p = model.log_joint_terms(x, z)
        log_q = model.log_posterior_terms(z, x)
        weight = total(log_q).exp()
        log_p = [t.expand_as(weight) for t in log_p]
        bound = total(log_p) - total(log_q)

    # Layer i's baseline reads what layer i of the inference network reads, and predicts the
    # signal l_i (Mnih & Gregor 2014, equation 12).
    inputs = model.posterior_inputs(x, z)
    value = torch.zeros((), dtype=torch.float64, device=x.device)
    for i, net in enumerate(rule.baseline or []):
        # Terms of log p begin with the data, those of log q with the first latent layer; so both
        # sums from i on are those of l_i.
        signal = total(log_p[i:]) - total(log_q[i:]) if rule.local_signals else bound
        center = state["mean"][i] if rule.constant_baseline else 0.0
        scale = state["variance"][i].sqrt().clamp(min=1.0) if rule.variance_normalization else 1.0
        value = value - (weight * (signal - net(inputs[i]) - center) ** 2).sum() / (2 * scale)
    return {
        name: gradient
        for name, gradient in _grad(rule, value).items()
        if name.startswith("baseline.")
    }


def _code_gradients(rule: MDL, x: Tensor) -> dict[str, Tensor]:
    """Return the direction that MDL's inference network of one layer follows, by enumeration.

    For the probability q of each bit it has two parts. One is half the sum of the slopes of
    log p(x, h) with the bit at 0 and at 1, averaged over the other bits; the other is the exact
    gradient of the entropy.
    """
    model = rule.model
    h = (
        exact.latent_states(model)[0]
        .to(x.device)
        .expand(-1, len(x), -1)
        .contiguous()
        .requires_grad_()
    )
    # d log p(x, h) / dh at every code, (states, batch, n), as if a bit could take any value.
    (slopes,) = torch.autograd.grad(model.log_joint(x, [h]).sum(), h)

    q = torch.sigmoid(model.q[0].logits(x - model.mean))
    # The mean over codes of MDL's estimate of dE[f]/dq, which is f'(h) / (2 q(h)); see
    # ``objectives.mdl``. It is the slope at q, a constant through which no gradient passes.
    with torch.no_grad():
        bit_probability = torch.where(h > 0, q, 1 - q)
        weight = bit_probability.prod(-1, keepdim=True)
        slope_of_q = (weight * slopes / (2 * bit_probability)).sum(0)

    entropy = -(q * q.log() + (1 - q) * (1 - q).log()).sum()
    values = _grad(rule, (slope_of_q * q).sum() + entropy)
    return {name: gradient for name, gradient in values.items() if name.startswith("model.q.")}
