"""VAEs with several stochastic layers, each given the next (Burda et al. 2016).

All layers are diagonal Gaussians whose moments come from multilayer perceptrons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.dists import bernoulli, gaussian
from vaebench.errors import UserError
from vaebench.models.base import Program, Tiny
from vaebench.models.gaussian_layers import GaussianLayersModel
from vaebench.models.posterior import Noise, Posterior, log_standard
from vaebench.models.visible_bias import check_visible_bias
from vaebench.nn.layers import layer_list
from vaebench.nn.mlp import NONLINEARITIES, Heads
from vaebench.protocol.families import FAMILIES
from vaebench.settings import validate


class Generator(nn.Module):
    """The generative half: from z_1 to the data, and from every z_l+1 to the moments of z_l."""

    def __init__(self, visible: Heads, between: Iterable[Heads]) -> None:
        super().__init__()
        self.visible = visible
        self.between = layer_list(between)


class Encoders(nn.Module):
    """The inference half: from the data to the moments of z_1, from every z_l to those of z_l+1."""

    def __init__(self, layers: Iterable[Heads]) -> None:
        super().__init__()
        self.layers = layer_list(layers)


class UpwardPosterior(Posterior):
    """q(z_1 | x) q(z_2 | z_1) ..., from the data upwards.

    The moments of the first layer are computed once, those of the others for each sample.

    Args:
        encoders: Networks from the data or a layer to the moments of the next layer.
        x: Examples, (batch, d).
    """

    def __init__(self, encoders: Sequence[Heads], x: Tensor) -> None:
        self.first = encoders[0](x)
        self.others = encoders[1:]

    def sample(self, k: int, noise: Noise) -> list[Tensor]:
        """Draw k samples of each layer, through which gradients pass to all moments.

        Noise ``q1``, ``q2``, ...: standard normals (k, batch, n).
        """
        mean, log_var = self.first
        z = [gaussian.sample(mean, 0.5 * log_var, noise["q1"])]
        for i, encoder in enumerate(self.others, 2):
            mean, log_var = encoder(z[-1])
            z.append(gaussian.sample(mean, 0.5 * log_var, noise[f"q{i}"]))
        return z

    def log_prob_terms(self, z: Sequence[Tensor]) -> list[Tensor]:
        """Return log q(z_1 | x), log q(z_2 | z_1), ..., (k, batch) each, nats."""
        moments = [
            self.first,
            *(encoder(below) for encoder, below in zip(self.others, z[:-1], strict=True)),
        ]
        return [
            gaussian.log_prob(layer, mean, 0.5 * log_var)
            for layer, (mean, log_var) in zip(z, moments, strict=True)
        ]


class HierarchicalVAE(GaussianLayersModel):
    """z_L ~ N(0, I), z_l | z_l+1 a diagonal Gaussian, x | z_1 Bernoulli.

    q(z_1 | x) and q(z_l+1 | z_l) are diagonal Gaussians. Between two stochastic layers, and between
    the data and z_1, there are ``depth`` deterministic layers, with the same number of units in
    both directions. ``dims`` lists the deepest layer first, as for belief nets.

    Args:
        info: What is known of the data.
        dims: Size of each stochastic layer, deepest first.
        hidden: For each stochastic layer, units of the deterministic layers just below it, deepest
            first.
        depth: Number of deterministic layers there; 0: all means, log-variances and logits are
            linear.
        nonlinearity: Nonlinearity of the hidden units.
        visible_bias: See ``VisibleBias``.

    Raises:
        UserError: For a bad setting.

    Reference:
        Burda, Grosse & Salakhutdinov 2016, section 5 and figure 1.
    """

    facts = FAMILIES["hierarchical_vae"]
    tiny: ClassVar[Tiny] = {
        "hierarchical VAE 2": {"dims": [2], "hidden": [3]},
        "hierarchical VAE 2-3-2": {"dims": [2, 3, 2], "hidden": [2, 3, 4], "depth": 1},
    }

    def __init__(
        self,
        info: DataInfo,
        dims: Sequence[int] = (50, 100),
        hidden: Sequence[int] = (100, 200),
        depth: int = 2,
        nonlinearity: str = "tanh",
        visible_bias: str = "init",
    ) -> None:
        # From here on the layer next to the data comes first.
        layers = validate.sizes("model.dims", dims)[::-1]
        if not layers:
            raise UserError("model.dims=[]: a model has one stochastic layer at least")
        super().__init__(info, layers)

        units = validate.sizes("model.hidden", hidden)[::-1]
        if len(units) != len(layers):
            raise UserError(
                f"model.hidden={list(hidden)}: must be as many numbers as model.dims={list(dims)}"
            )

        validate.whole("model.depth", depth, least=0)
        validate.one_of("model.nonlinearity", nonlinearity, NONLINEARITIES)
        self.visible_bias = check_visible_bias(visible_bias)

        # Counting from 0: widths[i] are the deterministic layers just below stochastic layer i, in
        # both directions, and between[i - 1] leads from layer i down to the moments of layer i - 1.
        widths = [[n] * depth for n in units]
        moments = [{"mean": n, "log_var": n} for n in layers]
        upper_layers = range(1, len(layers))
        self.p = Generator(
            Heads(layers[0], widths[0], {"logits": self.sizes[0]}, nonlinearity),
            [Heads(layers[i], widths[i], moments[i - 1], nonlinearity) for i in upper_layers],
        )
        self.q = Encoders(
            Heads(self.sizes[i], widths[i], moments[i], nonlinearity) for i in range(len(layers))
        )

    @property
    def visible(self) -> Heads:
        return self.p.visible

    # ------------------------------------------------------------------------------------ posterior

    def posterior(self, x: Tensor) -> UpwardPosterior:
        """Return q(z | x) of the examples ``x`` (batch, d)."""
        return UpwardPosterior(list(self.q.layers), x)

    # ------------------------------------------------------------------------------------ generator

    def logits(self, z: Sequence[Tensor]) -> Tensor:
        """Return the logits of p(x | z_1), (k, batch, d)."""
        return self.p.visible(z[0])[0]

    def log_joint_terms(self, x: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
        """Return log p(x | z_1), log p(z_1 | z_2), ..., log p(z_L), each (k, batch), nats."""
        terms = [bernoulli.log_prob(x, self.logits(z))]
        for net, layer, layer_above in zip(self.p.between, z[:-1], z[1:], strict=True):
            mean, log_var = net(layer_above)
            terms.append(gaussian.log_prob(layer, mean, 0.5 * log_var))
        return [*terms, log_standard(z[-1])]

    # ------------------------------------------------------------------------------------- programs

    def programs(self, x: Tensor) -> dict[str, Program]:
        """Return encoder and decoder, and both networks between each two stochastic layers."""
        layers = [torch.zeros(len(x), n, dtype=x.dtype) for n in self.sizes[1:]]

        # Binds the net: a lambda in the loop below would see that of the last round.
        def moments(net: Heads) -> Callable[[Tensor], tuple[Tensor, ...]]:
            return lambda v: tuple(net(v))

        def decode(z1: Tensor) -> Tensor:
            return self.p.visible(z1)[0]

        by_name = {
            "encoder": Program(moments(self.q.layers[0]), {"x": x}, "mean and log-variance of z1"),
            "decoder": Program(decode, {"z1": layers[0]}, "logits of x"),
        }

        # In the names layers count from 1: layers[i] is z_{i+1}.
        for i in range(1, len(layers)):
            up = moments(self.q.layers[i])
            down = moments(self.p.between[i - 1])
            by_name[f"encoder{i + 1}"] = Program(
                up, {"z": layers[i - 1]}, f"mean and log-variance of z{i + 1}"
            )
            by_name[f"decoder{i + 1}"] = Program(
                down, {"z": layers[i]}, f"mean and log-variance of z{i}"
            )

        return by_name

    # -------------------------------------------------------------------------------------- samples

    def sample_joint(self, noise: Noise) -> tuple[Tensor, list[Tensor]]:
        """Draw samples of the model: x (batch, d) and layers (1, batch, n)."""
        # The prior of the deepest layer is N(0, I), so its noise is the sample.
        deepest = len(self.sizes) - 1
        z = [noise[f"p{deepest}"]]
        for i in reversed(range(1, deepest)):
            mean, log_var = self.p.between[i - 1](z[0])
            z.insert(0, gaussian.sample(mean, 0.5 * log_var, noise[f"p{i}"]))

        layers = [v.unsqueeze(0) for v in z]
        return self.sample_visible(layers, noise["p0"].unsqueeze(0))[0], layers
