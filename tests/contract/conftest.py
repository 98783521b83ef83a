"""Tiny settings of every registered model and objective: what the contract holds them with.

A new model or objective needs one line here; all cases of this folder then apply to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vaebench import models, objectives
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.protocol.families import FAMILIES
from vaebench.rng import noise, seeds

VISIBLE = 5

SMALL = {"embedding": 3, "units": 4}

MODEL_SETTINGS: dict[str, list[dict[str, Any]]] = {
    "sbn": [
        {"dims": [3]},
        {"dims": [3, 4, 2]},
        {"dims": [2, 3], "posterior": "autoregressive"},
    ],
    "fdarn": [{"dims": [4]}],
    "darn": [{"dims": [4]}, {"dims": [3], "posterior": "autoregressive"}],
    "linear_gaussian": [{"dims": [2]}],
    "rbm_vae": [
        {"latents": 4, "groups": 1, "layers": 1, "units": 3},
        {"latents": 4, "groups": 2, "layers": 0, "units": 3, "context": "none"},
        {"latents": 4, "groups": 2, "layers": 1, "units": 3, "context": "shared", "momentum": 0.8},
    ],
    "rbm_vae_gaussian": [{"latents": 4, "groups": 2, "layers": 1, "units": 3}],
    "rbm_generator": [{"latents": 4, "layers": 1, "units": 3}],
    "rbm_posterior": [{"latents": 5, "layers": 1, "units": 3}],
    "rbm_target": [{"side": 2}],
    "text_vae": [
        {"latents": 2, "embedding": 3, "units": 4, "dropout_in": 0.3},
        {"latents": 1, "dropout_out": 0, **SMALL},
    ],
    "text_lm": [SMALL],
    # Images of one row here; a gated decoder, part of which sees other rows alone, is in tests/models/test_images.py.
    "image_vae": [{"latents": 2, "channels": 4, "kernels": [3, 3], "encoder_channels": [3], "features": 4}],
    "gaussian_vae": [
        {"latents": 2, "encoder": [4, 3], "nonlinearity": "softplus"},
        {"latents": 2, "encoder": [3], "decoder": [4, 3], "likelihood": "gaussian"},
        {"latents": 1, "encoder": [], "likelihood": "cross_entropy"},
    ],
    "dlgm": [
        {"dims": [2], "hidden": [4], "covariance": "rank_one", "input_noise": "bit_flip"},
        {"dims": [3, 2], "hidden": [4, 3], "between": [3], "input_noise": "dropout", "noise_rate": 0.3},
    ],
    "hierarchical_vae": [{"dims": [2], "hidden": [3]}, {"dims": [2, 3, 2], "hidden": [2, 3, 4], "depth": 1}],
    "pixel_cnn": [{"channels": 4, "kernels": [3, 3]}],
    "made": [{"units": 12}, {"units": 12, "layers": 2, "masks": 3, "direct": False}],
    "eonade": [{"units": 3, "layers": 1}, {"units": 3, "layers": 2, "squeeze": 0.0}],
    "bernoulli_mixture": [{"components": 3}],
    "nade": [{"units": 3}, {"units": 4, "tied": True, "order": "raster"}],
    "rbm": [{"units": 4}],
    "replicated_softmax": [{"units": 3}],
    "dbn": [{"dims": [3, 4]}],
    "lda": [{"dims": [3]}, {"dims": [2], "document_prior": 0.3, "topic_prior": 0.1}],
    "doc_nade": [{"dims": [3]}, {"dims": [2], "output": "softmax", "activation": "tanh"}],
}
"""At most 16 units in all, so that models of binary units can be enumerated."""

OF_COUNTS: dict[str, list[dict[str, Any]]] = {
    "sbn": [{"dims": [2, 3]}],
    "fdarn": [{"dims": [3], "posterior": "autoregressive"}],
}
"""The same of models that take other examples first, on documents as counts."""

PRIOR = {"prior_chains": 6, "prior_sweeps": 2}

OBJECTIVE_SETTINGS: dict[str, list[dict[str, Any]]] = {
    "nvil": [{"baseline_units": 5}, {"input_baseline": False, "local_signals": False}],
    "wake_sleep": [{}, {"weight_decay": 0.2}],
    "mdl": [{}],
    "iw_bound": [{"samples": 1}, {"samples": 3}, {"samples": 2, "average": "outside"}],
    "dvae": [PRIOR],
    "dvae_pp": [{**PRIOR, "samples": 2}],
    "dvae_sharp": [{**PRIOR, "samples": 2}],
    "dvae_sharp_gaussian": [{**PRIOR, "refresh": 3}],
    "gumbolt": [{**PRIOR, "samples": 2}],
    "pwl": [PRIOR],
    "dvae_sharp_sharp": [
        {**PRIOR, "discrete_sweeps": 2},
        {**PRIOR, "discrete_sweeps": 1, "samples": 2},
        {**PRIOR, "discrete_sweeps": 1, "prior_sampler": "population"},
    ],
    "bit_gibbs": [{"sweeps": 2}],
    "rbm_kl": [{"discrete_sweeps": 2}],
    "vae": [
        {},
        {"kl": "sampled", "weight_decay": 0.2},
        {"samples": 2, "kl_start": 0.1, "kl_warmup": 20, "kl_unit": "updates"},
    ],
    "mcem": [{"leaps": 3}, {"leaps": 2, "transitions": 2, "weight_decay": 0.2}],
    "free_energy": [{}, {"samples": 2, "weight_decay": 0.2}],
    "aggressive": [{}],
    "semi_amortised": [{"svi_steps": 2}, {"svi_steps": 2, "gradient": "finite_difference"}],
    "likelihood": [{}, {"reduce": "sum"}],
    "em": [{}],
    "greedy": [{"lower": 3, "steps": 3, "grow": 1}, {"lower": 3, "steps": 2, "grow": None}],
    "contrastive_divergence": [{"steps": 2}, {"steps": 3, "grow": 1, "chains": 5}],
    "ordered_likelihood": [{}, {"per": "example"}],
    "topic_posterior": [{}, {"decay": 0.0}],
    "order_agnostic": [{}, {"reduce": "sum"}],
}


DOCUMENTS = ("0", "1", "01", "110", "000", "")

COUNTED = ((0, 0, 1, 0, 0), (0, 3, 0, 1, 0), (1, 1, 1, 1, 1), (6, 0, 0, 0, 0), (0, 0, 0, 2, 2), (2, 0, 1, 0, 4))


@dataclass(frozen=True)
class Case:
    """A model of the registry, and for objectives one that trains it; ``missing`` names the one without settings."""

    model: dict[str, Any] = field(default_factory=dict)
    objective: dict[str, Any] = field(default_factory=dict)
    missing: str = ""
    other_kind: Kind | None = None

    @property
    def label(self) -> str:
        parts = [str(v) for part in (self.objective, self.model) for v in part.values()]
        return self.missing or " ".join([*parts, *([str(self.other_kind)] if self.other_kind else [])])

    @property
    def kind(self) -> Kind:
        """Of its examples."""
        if self.other_kind:
            return self.other_kind
        return FAMILIES[self.model["name"]].takes[0] if self.model else Kind.BITS

    @property
    def tokens(self) -> bool:
        """Whether they are documents."""
        return self.kind is Kind.TOKENS

    def build(self, seed: int = 0, scale: float = 0.8) -> nn.Module:
        """The model, every parameter N(0, scale^2)."""
        if self.missing:
            pytest.fail(f"{self.missing} has no tiny settings: add a line to tests/contract/conftest.py")
        shape = () if self.kind is Kind.TOKENS else (1, VISIBLE)  # an image of one row
        mean, longest = torch.linspace(0.1, 0.9, VISIBLE), 0
        if self.kind is Kind.COUNTS:
            shape, mean, longest = (), torch.tensor(COUNTED).float().mean(0), max(map(sum, COUNTED))
        info = DataInfo(mean, self.kind, shape, longest)
        return perturb(models.build(self.model, info), seed, scale)

    def rule(self, seed: int = 0, scale: float = 0.8, **more: Any) -> nn.Module:
        """The objective around the model, every parameter N(0, scale^2)."""
        return perturb(objectives.build({**self.objective, **more}, self.build(seed)), seed, scale)

    def __str__(self) -> str:
        return self.label


def perturb(module: nn.Module, seed: int, scale: float) -> nn.Module:
    generator = torch.Generator().manual_seed(seeds.derive(seed, "init"))
    with torch.no_grad():
        for _, p in sorted(module.named_parameters()):
            p.normal_(0.0, scale, generator=generator)
    return module


def model_cases() -> list[Case]:
    out = []
    for name in FAMILIES:
        settings = MODEL_SETTINGS.get(name)
        out += [Case({"name": name, **s}) for s in settings] if settings else [Case(missing=f"model {name}")]
    for name, settings in OF_COUNTS.items():
        out += [Case({"name": name, **s}, other_kind=Kind.COUNTS) for s in settings]
    return out


def objective_cases() -> list[Case]:
    """Every objective with every model that it trains."""
    built = [(case, None if case.missing else case.build()) for case in model_cases()]
    out = []
    for name, cls in objectives.OBJECTIVES.items():
        if name not in OBJECTIVE_SETTINGS:
            out.append(Case(missing=f"objective {name}"))
            continue
        for case, model in built:
            if case.missing or cls.trains(model):
                out += [_able(replace(case, objective={"name": name, **s})) for s in OBJECTIVE_SETTINGS[name]]
    return out


def _able(case: Case) -> Case:
    """The case without what is refused: dropout and noise on the model's input if its objective draws none, kept chains

    of what are no bits, codes through which no gradient passes.
    """
    if case.missing:
        return case
    try:
        objectives.build(case.objective, case.build())
    except UserError:
        if case.model.get("posterior") == "autoregressive":
            return replace(case, model={**case.model, "posterior": "deterministic"})
        if case.kind is Kind.COUNTS:
            return replace(case, objective={k: v for k, v in case.objective.items() if k != "chains"})
        off = {"dropout_in": 0.0, "dropout_out": 0.0} if case.kind is Kind.TOKENS else {"input_noise": "none"}
        return replace(case, model={**case.model, **off})
    return case


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "model_case" in metafunc.fixturenames:
        coded = [c for c in model_cases() if c.missing or FAMILIES[c.model["name"]].latent != "none"]
        metafunc.parametrize("model_case", coded, ids=str)
    # The scope brings the tests of one case together, so that they find each other's trained packs.
    if "objective_case" in metafunc.fixturenames:
        metafunc.parametrize("objective_case", _objective_cases(), ids=str, scope="module")
    if "case_of_objective" in metafunc.fixturenames:
        images_last = sorted(_objective_cases(), key=lambda case: not case.tokens)
        last = {case.objective.get("name", case.missing): case for case in images_last}
        metafunc.parametrize("case_of_objective", last.values(), ids=str)


@lru_cache(maxsize=1)
def _objective_cases() -> list[Case]:
    """Made once for all tests, since it builds every model."""
    return objective_cases()


@pytest.fixture
def x(request) -> Tensor:
    """Six cases, no two alike: binary, documents of the words 3 and 4, or counts of five words."""
    params = getattr(getattr(request.node, "callspec", None), "params", {})
    if any(isinstance(v, Case) and v.kind is Kind.COUNTS for v in params.values()):
        return torch.tensor(COUNTED, dtype=torch.float32)
    if any(isinstance(v, Case) and v.tokens for v in params.values()):
        return torch.tensor([[1, *(3 + int(c) for c in word), 2, 0, 0, 0][:VISIBLE] for word in DOCUMENTS])
    return torch.tensor([[c >> i & 1 for i in range(VISIBLE)] for c in (0, 5, 9, 14, 22, 31)], dtype=torch.float32)


@pytest.fixture
def draw():
    """draw(shapes, seed) -> noise."""
    return lambda shapes, seed=0: noise.fixed(shapes, seed, "noise")
