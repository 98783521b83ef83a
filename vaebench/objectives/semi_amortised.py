"""Semi-amortised inference (SA-VAE; Kim et al. 2018): the bound at a refined posterior.

The encoder gives a start, and ``svi_steps`` gradient steps with momentum refine it
(``models.refinement``). The loss is the bound at the end of the steps. Its gradient passes through
the steps to the encoder, and to the generative model, on which every step depends too.

Let lambda_k be the moments (mean and log-variance) before step k, v_k the velocity, g_k the
gradient of the loss f at lambda_k, and c the clip of each of its two parts. Step k is

    v_{k+1} = momentum v_k - c(g_k),  lambda_{k+1} = lambda_k + rate v_{k+1}.

Let L be the loss at the end. The way back through step k begins with a = dL/dlambda_{k+1} and with
p, the part of dL/dv_{k+1} that comes through v_{k+2} (0 at the last step). It ends with the same
for lambda_k and v_k:

    p <- p + rate a,  u = c'(g_k)' p,
    a <- a - (d2f/dlambda2) u,  dL/dtheta <- dL/dtheta - (d2f/dtheta dlambda) u,  p <- momentum p.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaebench.models.base import GaussianPosterior
from vaebench.models.elbo import Draws, Elbo, elbo
from vaebench.models.posterior import Gaussian
from vaebench.models.refinement import Path, Steps, refine, shrink
from vaebench.nn import second_order
from vaebench.nn.batch_norm import Tape
from vaebench.objectives.base import Batch, State, Step
from vaebench.objectives.vae import VAE, drawn
from vaebench.optim.clipping import EPSILON, clipped_jointly
from vaebench.rng.noise import Shapes
from vaebench.settings import validate

GRADIENTS = ("exact", "finite_difference", "faithful")
"""How the gradient passes through the steps; see SemiAmortised."""

REACH = 1e-3
"""Half the distance, as a norm, between the two points of a central difference."""


class SemiAmortised(VAE):
    """The bound at a refined posterior.

    Args:
        model: With a Gaussian posterior.
        svi_steps: K, the number of refinement steps.
        svi_rate: Rate of these steps.
        svi_momentum: Share of the last step that is kept.
        svi_clip: Largest norm of a step's gradient with respect to the means, and to the
            log-variances; None: no limit.
        gradient: How it passes through the steps. ``exact``: automatic differentiation.
            ``finite_difference``: products with second derivatives are central differences, and the
            clip's own derivative is included; memory does not grow with K. ``faithful``: one-sided
            differences over ``svi_reach``, as in the authors' code. There one of the two gradients
            is clipped together with the generative model's, and the other is not. If the clip acts,
            the result is not the derivative of anything.
        svi_reach: r of ``faithful``, the length of the differences.
        rest: The settings of VAE.

    Reference: Kim et al. 2018, algorithm 2; He et al. 2019, section 5.1 (K = 10).
    """

    tiny = ({"svi_steps": 2}, {"svi_steps": 2, "gradient": "finite_difference"})

    def __init__(
        self,
        model: GaussianPosterior,
        svi_steps: int = 10,
        svi_rate: float = 1.0,
        svi_momentum: float = 0.5,
        svi_clip: float | None = 5.0,
        gradient: str = "exact",
        svi_reach: float = 1e-5,
        **rest: Any,
    ) -> None:
        super().__init__(model, **rest)
        validate.one_of("objective.gradient", gradient, GRADIENTS)
        self.gradient = gradient
        if gradient != "exact":
            # The step calls autograd by itself, which vmap over seeds does not allow.
            self.alone = True
            self.no_half = (
                f"objective.gradient={gradient} takes differences, which its rounding hides"
            )

        self.reach = validate.positive("objective.svi_reach", svi_reach)
        self.steps = Steps(
            validate.whole("objective.svi_steps", svi_steps),
            validate.positive("objective.svi_rate", svi_rate),
            validate.below_one("objective.svi_momentum", svi_momentum),
            None if svi_clip is None else validate.positive("objective.svi_clip", svi_clip),
        )

    def draws(self, batch: int, width: int) -> Shapes:
        """Return the noise of the samples and of dropout, in every step and in the bound."""
        once = super().draws(batch, width)
        of_steps = {
            f"svi{k}.{name}": v for k in range(self.steps.count) for name, v in once.items()
        }
        return {**of_steps, **once}

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step. The bound and the KL are those of the refined posterior."""
        x = batch.x
        weight = self.weight.at(batch)
        draws = [drawn(noise, len(x), f"svi{k}.") for k in range(self.steps.count)]
        last = drawn(noise, len(x))

        # One tape for each step. The encoder and the bound at the end share the last one: they
        # have no layer in common.
        tapes: list[Tape] = [{} for _ in range(self.steps.count + 1)]

        if self.gradient == "exact":
            refined = self._unrolled(x, draws, last, weight, tapes)
        else:
            refined = self._by_differences(x, draws, last, weight, tapes)

        # The passes of the steps, then those of the encoder and the bound, update the running
        # averages one after the other, as every pass does in the authors' code.
        new_state = dict(state)
        for tape in tapes:
            new_state |= self.averages(new_state, tape)
        return refined.loss + self.penalty(), new_state, self.metrics(refined)

    def _unrolled(
        self, x: Tensor, draws: list[Draws], last: Draws, weight: Tensor, tapes: list[Tape]
    ) -> Elbo:
        """Return the bound at the refined posterior, differentiable through all steps."""
        with second_order.wanted():
            start = self.model.encode(x, tapes[-1])
            path = refine(
                self.model, x, start, draws, weight, self.steps, tapes[:-1], differentiable=True
            )
            return elbo(self.model, x, Gaussian(*path.end), last, weight, tapes[-1])

    def _by_differences(
        self, x: Tensor, draws: list[Draws], last: Draws, weight: Tensor, tapes: list[Tape]
    ) -> Elbo:
        """Return the bound, with a gradient found step by step, from the last step back.

        The returned loss has the value of the loss. A sum of products, whose value is subtracted
        again, gives it the gradient.
        """
        start = self.model.encode(x, tapes[-1])
        # The steps depend on the generative model only. The encoder has just one gradient, that of
        # its output ``start``.
        theta: list[Tensor] = [
            p for name, p in self.model.named_parameters() if name.startswith("p.")
        ]

        # The path is cut off from ``start``. Its last point is a leaf, so autograd gives the
        # gradients there: for the mean, the log-variance and each tensor of theta.
        path = refine(self.model, x, start, draws, weight, self.steps, tapes[:-1])
        refined = elbo(self.model, x, Gaussian(*path.end), last, weight, tapes[-1])
        at_end = torch.autograd.grad(refined.loss, [*path.end, *theta])
        back = self._faithful if self.gradient == "faithful" else self._central
        to_start, to_theta = back(x, path, draws, weight, theta, list(at_end[:2]), list(at_end[2:]))

        # The gradient of p.g with g constant is g. Through ``start`` it goes on to the encoder.
        products = [
            (p * g).sum() for p, g in zip((*start, *theta), (*to_start, *to_theta), strict=True)
        ]
        linear = torch.stack(products).sum()
        return refined._replace(loss=refined.loss.detach() + linear - linear.detach())

    def _gradients(
        self, x: Tensor, moments: list[Tensor], draws: Draws, weight: Tensor, theta: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the gradients of the loss at ``moments``: for these, and for ``theta``.

        Batch statistics are dropped: only the passes of the steps and of the bound count.
        """
        leaves = [v.detach().requires_grad_() for v in moments]
        value = elbo(self.model, x, Gaussian(*leaves), draws, weight, {}).loss
        grads = torch.autograd.grad(value, [*leaves, *theta])
        return list(grads[:2]), list(grads[2:])

    def _central(
        self,
        x: Tensor,
        path: Path,
        draws: list[Draws],
        weight: Tensor,
        theta: list[Tensor],
        a: list[Tensor],
        to_theta: list[Tensor],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Pass the gradient back through the steps by central differences.

        The letters a, p and u are those of the module docstring. Each is a pair of tensors
        (batch, n): one for the means, one for the log-variances.

        Args:
            x: Examples, (batch, d).
            path: The path of the refinement.
            draws: Noise of every step.
            weight: Weight of the KL.
            theta: Parameters of the generative model.
            a: Gradients of the loss for the moments at the end of the path.
            to_theta: Gradients of the loss there for ``theta``.

        Returns:
            Gradients for the moments at the start, and for ``theta`` through all steps.
        """
        steps = self.steps
        p = [torch.zeros_like(v) for v in a]
        for k in reversed(range(steps.count)):
            p = [v + steps.rate * w for v, w in zip(p, a, strict=True)]
            u = [_through_clip(v, g, steps.clip) for v, g in zip(p, path.grads[k], strict=True)]

            # Both products of second derivatives with u come from gradients at the two points
            # lambda_k + r u and lambda_k - r u. r makes the distance the same however long u is.
            size = float(torch.linalg.vector_norm(torch.cat([v.flatten() for v in u])))
            if size > 0:
                r = REACH / size
                up, theta_up = self._shifted(x, path, k, u, r, draws, weight, theta)
                down, theta_down = self._shifted(x, path, k, u, -r, draws, weight, theta)
                a = [v - (g - h) / (2 * r) for v, g, h in zip(a, up, down, strict=True)]
                to_theta = [
                    v - (g - h) / (2 * r)
                    for v, g, h in zip(to_theta, theta_up, theta_down, strict=True)
                ]

            p = [steps.momentum * v for v in p]
        return a, to_theta

    def _shifted(
        self,
        x: Tensor,
        path: Path,
        k: int,
        along: list[Tensor],
        r: float,
        draws: list[Draws],
        weight: Tensor,
        theta: list[Tensor],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the ``_gradients`` at the moments before step k, shifted by r times ``along``.

        The noise is that of step k, so the difference of two shifts is due to the moments alone.
        """
        moments = [v.detach() + r * w for v, w in zip(path.before[k], along, strict=True)]
        return self._gradients(x, moments, draws[k], weight, theta)

    def _faithful(
        self,
        x: Tensor,
        path: Path,
        draws: list[Draws],
        weight: Tensor,
        theta: list[Tensor],
        a: list[Tensor],
        to_theta: list[Tensor],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Pass the gradient back through the steps as the authors' code does, with its clips.

        This is written from a description of that code. Arguments and result are those of
        ``_central``.
        """
        steps = self.steps
        r = self.reach
        p = [torch.zeros_like(v) for v in a]
        for k in reversed(range(steps.count)):
            p = [v + steps.rate * w for v, w in zip(p, a, strict=True)]

            # At lambda_k: mean and log-variance are clipped one by one, theta is not clipped.
            _, theta_base = self._gradients(x, list(path.before[k]), draws[k], weight, theta)
            base = shrink(path.grads[k], steps.clip)

            # At lambda_k + r p: one clip over all, dominated by theta's much larger gradient. If it
            # acts, the differences below are of two unlike things, and the division by r makes them
            # huge before the next clip.
            shifted, theta_shifted = self._shifted(x, path, k, p, r, draws, weight, theta)
            joint = clipped_jointly([*shifted, *theta_shifted], steps.clip)
            shifted = joint[:2]
            theta_shifted = joint[2:]

            change = clipped_jointly(
                [(g - h) / r for g, h in zip(theta_shifted, theta_base, strict=True)], steps.clip
            )
            to_theta = [v - d for v, d in zip(to_theta, change, strict=True)]
            a = clipped_jointly(
                [v - (g - h) / r for v, g, h in zip(a, shifted, base, strict=True)], steps.clip
            )
            p = [steps.momentum * v for v in p]
        return a, to_theta


def _through_clip(v: Tensor, grad: Tensor, clip: float | None) -> Tensor:
    """Multiply ``v`` by the transposed derivative of clipping ``grad`` to the norm ``clip``.

    If the clip acts, the part of ``v`` along the gradient is lost, up to rounding.
    """
    norm = torch.linalg.vector_norm(grad)
    if clip is None or float(norm) + EPSILON <= clip:
        return v

    # The clip is c(g) = clip g / (|g| + epsilon). Its derivative is symmetric:
    # clip / (|g| + epsilon) [I - |g| / (|g| + epsilon) unit unit'].
    unit = grad / norm
    factor = clip / (norm + EPSILON)
    return factor * (v - (norm / (norm + EPSILON)) * unit * (unit * v).sum())
