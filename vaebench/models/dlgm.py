"""Deep latent Gaussian models: layers of Gaussians between deterministic networks.

Rezende, Mohamed & Wierstra 2014.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.dists import bernoulli
from vaebench.errors import UserError
from vaebench.models.base import Program, Tiny
from vaebench.models.gaussian_layers import GaussianLayersModel
from vaebench.models.posterior import GaussianLayers, Layer, Noise, log_standard
from vaebench.models.visible_bias import check_visible_bias
from vaebench.nn.layers import layer_list
from vaebench.nn.mlp import NONLINEARITIES, Heads
from vaebench.nn.products import linear
from vaebench.protocol.families import FAMILIES
from vaebench.rng.noise import Shapes
from vaebench.settings import validate

COVARIANCES = ("diagonal", "rank_one")

INPUT_NOISES = ("none", "bit_flip", "dropout")


class Generator(nn.Module):
    """The generative half: T_0, the T_l between stochastic layers, and the G_l."""

    def __init__(
        self, visible: Heads, between: Iterable[Heads], noise: Iterable[nn.Linear]
    ) -> None:
        super().__init__()
        self.visible = visible
        self.between = layer_list(between)
        self.noise = layer_list(noise)


class DLGM(GaussianLayersModel):
    """xi_l ~ N(0, I); h_L = G_L xi_L, h_l = T_l(h_{l+1}) + G_l xi_l; x | h_1 ~ Bernoulli(T_0(h_1)).

    The latents z are the xi, so that the prior of every layer is N(0, I). The posterior is
    q(xi | x) = prod_l N(mu_l(x), C_l(x)); one recognition network gives the moments of all layers.
    ``dims`` lists the deepest layer first, as for belief nets.

    Args:
        info: What is known of the data.
        dims: Size of each stochastic layer, deepest first.
        hidden: Units of the hidden layers of T_0, the one next to h_1 first.
        between: Units of the hidden layers of every T_l between stochastic layers; empty: T_l is
            linear.
        encoder: Units of the hidden layers of the recognition network, the one next to the data
            first; empty: ``hidden`` in reverse order.
        nonlinearity: Nonlinearity of all hidden units.
        covariance: ``diagonal``, or ``rank_one``: the precision is D + u u^T.
        input_noise: Noise in training on what the recognition network sees: ``none``, ``bit_flip``,
            or ``dropout``, which sets bits to 0.
        noise_rate: Probability that the noise hits a bit.
        visible_bias: See ``VisibleBias``.

    Raises:
        UserError: For a bad setting.

    Reference:
        Rezende, Mohamed & Wierstra 2014, equations 2 to 5, 17 to 19.
    """

    facts = FAMILIES["dlgm"]
    tiny: ClassVar[Tiny] = {
        "DLGM 2": {"dims": [2], "hidden": [4], "covariance": "rank_one", "input_noise": "bit_flip"},
        "DLGM 3-2": {
            "dims": [3, 2],
            "hidden": [4, 3],
            "between": [3],
            "input_noise": "dropout",
            "noise_rate": 0.3,
        },
    }

    def __init__(
        self,
        info: DataInfo,
        dims: Sequence[int] = (200,),
        hidden: Sequence[int] = (200, 200),
        between: Sequence[int] = (),
        encoder: Sequence[int] = (),
        nonlinearity: str = "relu",
        covariance: str = "diagonal",
        input_noise: str = "none",
        noise_rate: float = 0.1,
        visible_bias: str = "init",
    ) -> None:
        layers = validate.sizes("model.dims", dims)[::-1]
        if not layers:
            raise UserError("model.dims=[]: a model has one stochastic layer at least")

        super().__init__(info, layers)
        validate.one_of("model.nonlinearity", nonlinearity, NONLINEARITIES)
        validate.one_of("model.covariance", covariance, COVARIANCES)
        validate.one_of("model.input_noise", input_noise, INPUT_NOISES)
        validate.between("model.noise_rate", noise_rate)

        decoder_units = validate.sizes("model.hidden", hidden)
        between_units = validate.sizes("model.between", between)
        encoder_units = validate.sizes("model.encoder", encoder) or decoder_units[::-1]

        self.rank_one = covariance == "rank_one"
        self.input_noise = input_noise
        self.noise_rate = float(noise_rate)
        self.visible_bias = check_visible_bias(visible_bias)

        # ``layers`` has the layer next to the data first. T_0 leads from h_1 to the data,
        # between[i] from one layer to that below it, and noise[i] is the matrix G of layer i + 1.
        d = self.sizes[0]
        between_layers = [
            Heads(layers[i + 1], between_units, {"h": layers[i]}, nonlinearity)
            for i in range(len(layers) - 1)
        ]
        self.p = Generator(
            Heads(layers[0], decoder_units, {"logits": d}, nonlinearity),
            between_layers,
            [nn.Linear(n, n, bias=False) for n in layers],
        )

        # One network has all heads: mean1, log_d1 [, u1], mean2, ..., as ``posterior`` takes them
        # apart.
        moments = ("mean", "log_d", "u") if self.rank_one else ("mean", "log_d")
        heads = {f"{name}{i}": n for i, n in enumerate(layers, 1) for name in moments}
        self.q = Heads(d, encoder_units, heads, nonlinearity)
        self.moments = len(moments)

    @property
    def visible(self) -> Heads:
        return self.p.visible

    def decayed(self) -> list[Tensor]:
        """Return the parameters of the generative model: only these have a prior (equation 20)."""
        return list(self.p.parameters())

    # ------------------------------------------------------------------------------------ posterior

    def dropout_noise(self, batch: int, width: int) -> Shapes:
        """Declare the noise on what the recognition network sees in training.

        Uniforms (batch, width), or none.
        """
        return {} if self.input_noise == "none" else {"drop_input": ("uniform", (batch, width))}

    def posterior(self, x: Tensor, drop: Noise | None = None) -> GaussianLayers:
        """Return q(xi | x) of the examples ``x`` (batch, d).

        ``drop`` is the noise on the input, given in training only.
        """
        if drop and self.input_noise != "none":
            hit = drop["drop_input"] < self.noise_rate
            x = torch.where(
                hit, 1 - x if self.input_noise == "bit_flip" else torch.zeros_like(x), x
            )

        # The moments of one layer follow those of the layer before.
        outputs = self.q(x)
        count = self.moments
        by_layer = [outputs[i : i + count] for i in range(0, len(outputs), count)]

        return GaussianLayers(
            [
                Layer(fields[0], fields[1], fields[2] if self.rank_one else None)
                for fields in by_layer
            ]
        )

    # ------------------------------------------------------------------------------------ generator

    def logits(self, z: Sequence[Tensor]) -> Tensor:
        """Return the logits of p(x | xi), (k, batch, d), for layers ``z`` (k, batch, n).

        The layer next to the data comes first.
        """
        # From the deepest layer down: h_L = G_L xi_L, h_l = T_l(h_{l+1}) + G_l xi_l.
        h: Tensor | None = None
        for i in reversed(range(len(z))):
            g_xi = linear(z[i], self.p.noise[i].weight)
            h = g_xi if h is None else self.p.between[i](h)[0] + g_xi
        return self.p.visible(h)[0]

    def log_likelihood(self, x: Tensor, z: Sequence[Tensor]) -> Tensor:
        """Return log p(x | xi), (k, batch), nats, differentiable."""
        return bernoulli.log_prob(x, self.logits(z))

    def log_joint_terms(self, x: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
        """Return log p(x | xi), then log p(xi_l) of each layer, each (k, batch), nats."""
        return [self.log_likelihood(x, z), *(log_standard(v) for v in z)]

    # ------------------------------------------------------------------------------------- programs

    def programs(self, x: Tensor) -> dict[str, Program]:
        """Return encoder and decoder."""
        layers = {
            f"z{i}": torch.zeros(len(x), n, dtype=x.dtype) for i, n in enumerate(self.sizes[1:], 1)
        }

        def encode(x: Tensor) -> tuple[Tensor, ...]:
            return tuple(self.q(x))

        def decode(*z: Tensor) -> Tensor:
            return self.logits(z)

        moments = "mean, log of the precision's diagonal" + (
            " and its vector" if self.rank_one else ""
        )
        return {
            "encoder": Program(
                encode, {"x": x}, f"{moments}, layer after layer, z1 next to the data"
            ),
            "decoder": Program(decode, layers, "logits of x"),
        }

    # -------------------------------------------------------------------------------------- samples

    def sample_joint(self, noise: Noise) -> tuple[Tensor, list[Tensor]]:
        """Draw samples of the model: x (batch, d) and layers (1, batch, n)."""
        z = [noise[f"p{i}"].unsqueeze(0) for i in range(1, len(self.sizes))]
        return self.sample_visible(z, noise["p0"].unsqueeze(0))[0], z
