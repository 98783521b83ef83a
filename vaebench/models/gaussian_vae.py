"""The VAE of Kingma & Welling (2014).

It has Gaussian latents, and multilayer perceptrons as encoder and decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.dists import bernoulli, gaussian
from vaebench.errors import UserError
from vaebench.models.base import (
    Ancestral,
    BinaryVisibles,
    GaussianPosterior,
    MeanVisibles,
    Moments,
    Program,
    Tiny,
)
from vaebench.models.posterior import Noise
from vaebench.models.visible_bias import VisibleBias, check_visible_bias
from vaebench.nn.batch_norm import Tape
from vaebench.nn.mlp import NONLINEARITIES, Heads
from vaebench.protocol.families import FAMILIES
from vaebench.rng.noise import Shapes
from vaebench.settings import validate

LIKELIHOODS = ("bernoulli", "gaussian", "cross_entropy")


class GaussianVAE(VisibleBias, GaussianPosterior, Ancestral, BinaryVisibles, MeanVisibles):
    """z ~ N(0, I), a decoder for x | z, and an encoder for the diagonal Gaussian q(z | x).

    Args:
        info: What is known of the data.
        latents: n, the size of a code.
        encoder: Units of the encoder's hidden layers, the one next to the data first; empty:
            linear.
        decoder: Units of the decoder's hidden layers, the one next to the code first; empty: the
            encoder's in reverse order.
        nonlinearity: Nonlinearity of the hidden units.
        likelihood: ``bernoulli``: p(x | z) of bits, by their logits. ``gaussian``: a density; the
            means are sigmoids of linear outputs, so in (0, 1), and the log-variances are linear
            outputs. ``cross_entropy``: the Bernoulli formula at grey levels in [0, 1]. It is no
            likelihood of grey levels, so its values must not be compared with likelihoods.
        visible_bias: How the bias of the logits starts, see ``VisibleBias``.

    Raises:
        UserError: For a bad setting, or grey levels with ``bernoulli``.

    Reference:
        Kingma & Welling 2014, appendix C; Burda et al. 2016, section 5.
    """

    facts = FAMILIES["gaussian_vae"]
    tiny: ClassVar[Tiny] = {
        "VAE 4-3-2": {"latents": 2, "encoder": [4, 3], "nonlinearity": "softplus"},
        "VAE 3-2, Gaussian": {
            "latents": 2,
            "encoder": [3],
            "decoder": [4, 3],
            "likelihood": "gaussian",
        },
        "VAE 1, cross-entropy": {"latents": 1, "encoder": [], "likelihood": "cross_entropy"},
    }

    def __init__(
        self,
        info: DataInfo,
        latents: int = 20,
        encoder: Sequence[int] = (500,),
        decoder: Sequence[int] = (),
        nonlinearity: str = "tanh",
        likelihood: str = "bernoulli",
        visible_bias: str = "init",
    ) -> None:
        super().__init__(info, [validate.whole("model.latents", latents)])
        validate.one_of("model.nonlinearity", nonlinearity, NONLINEARITIES)
        validate.one_of("model.likelihood", likelihood, LIKELIHOODS)
        if likelihood == "bernoulli" and info.kind is Kind.INTENSITY:
            raise UserError(
                "model.likelihood=bernoulli: for bits, and these data are grey levels; "
                "allowed here: gaussian, cross_entropy"
            )

        encoder_units = validate.sizes("model.encoder", encoder)
        decoder_units = validate.sizes("model.decoder", decoder) or encoder_units[::-1]
        self.likelihood = likelihood
        self.visible_bias = check_visible_bias(visible_bias)

        # The first head is always the logits of the mean of x, though "gaussian" names it "mean".
        d, n = self.sizes
        outputs = {"mean": d, "log_var": d} if likelihood == "gaussian" else {"logits": d}
        self.p = Heads(n, decoder_units, outputs, nonlinearity)
        self.q = Heads(d, encoder_units, {"mean": n, "log_var": n}, nonlinearity)

    @property
    def draws_bits(self) -> bool:
        """Whether samples of p(x) are zeros and ones."""
        return self.likelihood != "gaussian"

    @property
    def visible(self) -> Heads:
        """The decoder."""
        return self.p

    # ------------------------------------------------------------------------------------ posterior

    def encode(self, x: Tensor, tape: Tape | None = None) -> Moments:
        """Return mean and log-variance of q(z | x), (batch, n) each."""
        mean, log_var = self.q(x)
        return mean, log_var

    # ------------------------------------------------------------------------------------ generator

    def log_likelihood(
        self, x: Tensor, z: Sequence[Tensor], drop: Noise | None = None, tape: Tape | None = None
    ) -> Tensor:
        """Return log p(x | z), (k, batch), nats, differentiable. There is no dropout."""
        outputs = self.p(z[0])
        if self.likelihood == "gaussian":
            logit, log_var = outputs
            return gaussian.log_prob(x, torch.sigmoid(logit), 0.5 * log_var)
        return bernoulli.log_prob(x, outputs[0])

    # ------------------------------------------------------------------------------------- programs

    def programs(self, x: Tensor) -> dict[str, Program]:
        """Return encoder and decoder."""
        z = torch.zeros(len(x), self.sizes[1], dtype=x.dtype)

        def decode(z: Tensor) -> Tensor | tuple[Tensor, ...]:
            outputs = self.p(z)
            return tuple(outputs) if len(outputs) > 1 else outputs[0]

        gives = (
            "logits of the mean of x, and its log-variance"
            if self.likelihood == "gaussian"
            else "logits of x"
        )
        return {
            "encoder": Program(self.encode, {"x": x}, "mean and log-variance of z"),
            "decoder": Program(decode, {"z": z}, gives),
        }

    # -------------------------------------------------------------------------------------- samples

    def visible_mean(self, z: Sequence[Tensor]) -> Tensor:
        """Return E[x | z], (k, batch, d), numbers in (0, 1)."""
        return torch.sigmoid(self.p(z[0])[0])

    def sample_visible(self, z: Sequence[Tensor], uniform: Tensor) -> Tensor:
        """Draw samples of p(x | z), bits of the shape of ``uniform`` (k, batch, d)."""
        if not self.draws_bits:
            raise UserError("model.likelihood=gaussian: data given z are real numbers, no bits")
        return bernoulli.sample(self.p(z[0])[0], uniform)

    def joint_noise(self, batch: int) -> Shapes:
        """Declare the noise of ``sample_joint``.

        A number (batch, d) for every pixel, uniform or normal, and standard normals (batch, n).
        """
        kind = "uniform" if self.draws_bits else "normal"
        return {"p0": (kind, (batch, self.sizes[0])), "p1": ("normal", (batch, self.sizes[1]))}

    def sample_joint(self, noise: Noise) -> tuple[Tensor, list[Tensor]]:
        """Draw samples of the model: x (batch, d) and [z (1, batch, n)]."""
        z = noise["p1"]
        outputs = self.p(z)
        if self.draws_bits:
            return bernoulli.sample(outputs[0], noise["p0"]), [z.unsqueeze(0)]

        logit, log_var = outputs
        return gaussian.sample(torch.sigmoid(logit), 0.5 * log_var, noise["p0"]), [z.unsqueeze(0)]
