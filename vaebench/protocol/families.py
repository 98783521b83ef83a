"""The registry of model families: where each is built, and its facts, known without torch.

The models themselves read these facts (``vaebench.models.base``), and so does all code that has
only a model's name: the protocol of a measure, the report, the check, the benchmark. Facts that
depend on the settings of a model or on its data are functions of a cell's configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vaebench.data import DATA
from vaebench.data.kinds import Kind


@dataclass(frozen=True)
class Family:
    """Facts about the models of one name.

    Args:
        place: File of vaebench/models/ and class in it, such as ``belief_net.SBN``.
        latent: Kind of the latents: ``binary``, ``gaussian`` or ``none``.
        takes: Kinds of examples that the models can be trained on. A model sees ``Kind.GREY`` as
            bits, so ``Kind.BITS`` includes it.
        of_data: Whether the model is one of examples x. If not, it is fitted to a known
            distribution of its latents, and makes no use of x.
        encoded: Whether q(z | x) is a Gaussian whose mean, and whose KL to the prior, are known
            without samples.
        unnormalised: Parts that are Boltzmann machines, whose log Z the model's log-densities lack:
            ``prior``, ``posterior``, or ``evidence`` for log p(x) itself. How log Z is found is
            then part of the protocol.
        base_rates: Whether the annealing of log Z may begin at the base rates of the variables of
            the Boltzmann machine.
        density: Whether p(x) is a density, so that its logarithm may be positive.
        bounded: Whether there is a bound on log p(x) without samples, from a posterior
            fitted to each example.
        ordered: Whether log p(x) is known only for a given order of the parts of an example, and
            depends on it. The number of orders in an evaluation is then part of the protocol.
        ensemble: Whether p(x) is the mean over a stated number of orders or masks,
            ``eval.members``.
        half: Where products may be bfloat16, ``train``, ``eval`` or both: where that saves time and
            does not change the likelihood noticeably.
    """

    place: str
    latent: str = "binary"
    takes: tuple[Kind, ...] = (Kind.BITS,)
    of_data: bool = True
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
        """Whether log p(x) is known, so that there is an NLL and no bound."""
        return self.latent == "none" and not self.unnormalised and not self.bounded

    @property
    def reads_documents(self) -> bool:
        """Whether examples are documents."""
        return Kind.TOKENS in self.takes

    @property
    def draws_bits(self) -> bool:
        """Whether samples of p(x) may be zeros and ones, and not only words or real numbers."""
        return self.of_data and Kind.BITS in self.takes and not self.density


FAMILIES: dict[str, Family] = {
    # Belief nets of binary units.
    "sbn": Family("belief_net.SBN", takes=(Kind.BITS, Kind.COUNTS)),
    "fdarn": Family("belief_net.FDARN", takes=(Kind.BITS, Kind.COUNTS)),
    "darn": Family("belief_net.DARN"),
    # The control of estimators: its log p(x) and its bound are known exactly.
    "linear_gaussian": Family(
        "linear_gaussian.LinearGaussian",
        latent="gaussian",
        takes=(Kind.BITS, Kind.REAL),
        density=True,
    ),
    # Binary latents and Boltzmann machines: the family of DVAE.
    "rbm_vae": Family("rbm_vae.RBMVAE", unnormalised=("prior",)),
    "rbm_vae_gaussian": Family("rbm_vae_gaussian.RBMVAEGaussian", unnormalised=("prior",)),
    "rbm_generator": Family("rbm_generator.RBMGenerator", unnormalised=("prior",)),
    "rbm_posterior": Family("rbm_posterior.RBMPosteriorVAE", unnormalised=("prior", "posterior")),
    "rbm_target": Family("rbm_target.RBMTarget", of_data=False),
    # Gaussian latents.
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
    # Exact likelihoods of bits.
    "pixel_cnn": Family("pixel_cnn.PixelCNN", latent="none", half=("train", "eval")),
    "bernoulli_mixture": Family("bernoulli_mixture.BernoulliMixture", latent="none"),
    "eonade": Family("eonade.EoNADE", latent="none", ensemble=True),
    "made": Family("made.MADE", latent="none", ensemble=True),
    "nade": Family("nade.NADE", latent="none"),
    # Boltzmann machines that can be annealed from base rates: over h1 and h2, over x and h.
    "dbn": Family("dbn.DBN", unnormalised=("prior",), base_rates=True),
    "rbm": Family("rbm.BinaryRBM", latent="none", unnormalised=("evidence",), base_rates=True),
    # Documents: as tokens, then as counts. The last one is a Boltzmann machine too.
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
"""Facts assumed of a name that is not registered, as results of other versions may have one."""


def family(config: Mapping[str, Any]) -> Family:
    """Return the family of the model of a cell's configuration."""
    return FAMILIES.get(config.get("model", {}).get("name", ""), UNKNOWN)


USUAL_LIKELIHOOD = "bernoulli"
"""The likelihood that is not named in a protocol, of models that have a setting for it."""


def likelihood(config: Mapping[str, Any]) -> str:
    """Return the name of p(x | z) if a cell's settings choose an unusual one, else ''."""
    chosen = config.get("model", {}).get("likelihood", USUAL_LIKELIHOOD)
    return "" if chosen == USUAL_LIKELIHOOD else str(chosen)


def draws_bits(config: Mapping[str, Any]) -> bool:
    """Whether samples of p(x) of a cell's model are zeros and ones."""
    data = DATA.get(config.get("data", {}).get("name", ""))
    counts = data is not None and data.kind is Kind.COUNTS
    return family(config).draws_bits and likelihood(config) != "gaussian" and not counts


def deterministic(config: Mapping[str, Any]) -> bool:
    """Whether the posterior of a cell's model is a point for every example."""
    return bool(config.get("model", {}).get("posterior") == "deterministic")


def has_density(config: Mapping[str, Any]) -> bool:
    """Whether p(x) of a cell is a density, so that its logarithm may be positive."""
    return family(config).density or likelihood(config) == "gaussian"
