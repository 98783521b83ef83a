"""The registry of model families.

Where each is built, and what is known of it before torch is loaded. A model reads what stands here
(``vaebench.models.base``), and so does whoever has only its name: the protocol of a measure, the
report, the check, the benchmark. Nothing of it is said a second time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vaebench.data.kinds import Kind


@dataclass(frozen=True)
class Family:
    """Facts about the models of one name.

    Args:
        place: File of vaebench/models/ and class in it, such as ``belief_net.SBN``.
        latent: What the latents are: ``binary``, ``gaussian`` or ``none``.
        takes: Kinds of examples that the models can be trained on; grey levels are bits to a model.
        encoded: Whether q(z | x) is a Gaussian of which the mean is known, and the KL to the prior,
            without samples.
        unnormalised: Which of ``prior``, ``posterior`` are Boltzmann machines whose log Z the
            model's log-densities lack: how it is found is then part of the protocol. ``evidence``:
            log p(x) itself lacks one.
        base_rates: Whether the annealing of its log Z may begin at the base rates of what its
            machine is over.
        density: Whether p(x) is a density, so that its logarithm may be positive.
        bounded: Whether there is a bound on log p(x) without samples, from a posterior
            fitted to each example.
        ordered: Whether log p(x) is known given an order of the parts of an example, and differs by
            it: how many orders an evaluation takes is then part of the protocol.
        ensemble: Whether p(x) is the mean over a stated number of orders or masks,
            ``eval.members``.
        half: Where products may be bfloat16, of ``train`` and ``eval``: where that pays, and leaves
            the likelihood in place.
    """

    place: str
    latent: str = "binary"
    takes: tuple[Kind, ...] = (Kind.BITS,)
    encoded: bool = False
    unnormalised: tuple[str, ...] = ()
    base_rates: bool = False
    density: bool = False
    bounded: bool = False
    ordered: bool = False
    ensemble: bool = False
    half: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether log p(x) is known: there is an NLL, and no bound."""
        return self.latent == "none" and not self.unnormalised and not self.bounded

    @property
    def reads_documents(self) -> bool:
        """Whether examples are documents."""
        return Kind.TOKENS in self.takes

    @property
    def draws_bits(self) -> bool:
        """Whether samples of p(x) are zeros and ones: neither words nor real numbers."""
        return Kind.BITS in self.takes and not self.density


FAMILIES: dict[str, Family] = {
    "sbn": Family("belief_net.SBN", takes=(Kind.BITS, Kind.COUNTS)),
    "fdarn": Family("belief_net.FDARN", takes=(Kind.BITS, Kind.COUNTS)),
    "darn": Family("belief_net.DARN"),
    "linear_gaussian": Family(
        "linear_gaussian.LinearGaussian",
        latent="gaussian",
        takes=(Kind.BITS, Kind.REAL),
        density=True,
    ),
    "rbm_vae": Family("rbm_vae.RBMVAE", unnormalised=("prior",)),
    "rbm_vae_gaussian": Family("rbm_vae_gaussian.RBMVAEGaussian", unnormalised=("prior",)),
    "rbm_generator": Family("rbm_generator.RBMGenerator", unnormalised=("prior",)),
    "rbm_posterior": Family("rbm_posterior.RBMPosteriorVAE", unnormalised=("prior", "posterior")),
    "rbm_target": Family("rbm_target.RBMTarget"),
    "text_vae": Family(
        "text_vae.TextVAE", latent="gaussian", takes=(Kind.TOKENS,), encoded=True, half=("train",)
    ),
    "image_vae": Family(
        "image_vae.ImageVAE", latent="gaussian", encoded=True, half=("train", "eval")
    ),
    "gaussian_vae": Family(
        "gaussian_vae.GaussianVAE",
        latent="gaussian",
        takes=(Kind.BITS, Kind.INTENSITY),
        encoded=True,
    ),
    "dlgm": Family("dlgm.DLGM", latent="gaussian"),
    "hierarchical_vae": Family("hierarchical_vae.HierarchicalVAE", latent="gaussian"),
    "pixel_cnn": Family("pixel_cnn.PixelCNN", latent="none", half=("train", "eval")),
    "bernoulli_mixture": Family("bernoulli_mixture.BernoulliMixture", latent="none"),
    "eonade": Family("eonade.EoNADE", latent="none", ensemble=True),
    "made": Family("made.MADE", latent="none", ensemble=True),
    "nade": Family("nade.NADE", latent="none"),
    "dbn": Family("dbn.DBN", unnormalised=("prior",), base_rates=True),
    "rbm": Family("rbm.BinaryRBM", latent="none", unnormalised=("evidence",), base_rates=True),
    "text_lm": Family("text_lm.TextLM", latent="none", takes=(Kind.TOKENS,), half=("train",)),
    "doc_nade": Family("doc_nade.DocNADE", latent="none", takes=(Kind.COUNTS,), ordered=True),
    "lda": Family("lda.LDA", latent="none", takes=(Kind.COUNTS,), bounded=True),
    "replicated_softmax": Family(
        "replicated_softmax.ReplicatedSoftmax",
        latent="none",
        takes=(Kind.COUNTS,),
        unnormalised=("evidence",),
        base_rates=True,
    ),
}
"""Every model by its name in ``conf/model/``."""

UNKNOWN = Family("")
"""What is assumed of a name that is not registered: results of other versions may have one."""


def family(config: Mapping[str, Any]) -> Family:
    """The family of the model of a cell's configuration."""
    return FAMILIES.get(config.get("model", {}).get("name", ""), UNKNOWN)


USUAL_LIKELIHOOD = "bernoulli"
"""Of models that have a setting for it: what goes without saying."""


def likelihood(config: Mapping[str, Any]) -> str:
    """What p(x | z) of a cell's model is, where its settings choose it and not the usual one.

    Else empty.
    """
    chosen = config.get("model", {}).get("likelihood", USUAL_LIKELIHOOD)
    return "" if chosen == USUAL_LIKELIHOOD else str(chosen)


def has_density(config: Mapping[str, Any]) -> bool:
    """Whether p(x) of a cell is a density, so that its logarithm may be positive."""
    return family(config).density or likelihood(config) == "gaussian"
