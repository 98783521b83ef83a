"""The cases that all tests of this folder hold for: every registered model and objective at its
``tiny`` settings."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import pytest
import torch
from kit.parameters import drawn
from torch import Tensor, nn

from vaebench import models, objectives
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.protocol.families import FAMILIES
from vaebench.rng import noise, seeds

VISIBLE = 5

DOCUMENTS = ("0", "1", "01", "110", "000", "")

COUNTED = (
    (0, 0, 1, 0, 0),
    (0, 3, 0, 1, 0),
    (1, 1, 1, 1, 1),
    (6, 0, 0, 0, 0),
    (0, 0, 0, 2, 2),
    (2, 0, 1, 0, 4),
)


@dataclass(frozen=True)
class Case:
    """A model of the registry, and in tests of objectives one that trains it.

    ``missing`` names a class that has no ``tiny`` settings. ``other_kind`` is a kind of examples
    other than the model's first.
    """

    model: dict[str, Any] = field(default_factory=dict)
    objective: dict[str, Any] = field(default_factory=dict)
    missing: str = ""
    other_kind: Kind | None = None

    @property
    def label(self) -> str:
        parts = [str(v) for part in (self.objective, self.model) for v in part.values()]
        return self.missing or " ".join(
            [*parts, *([str(self.other_kind)] if self.other_kind else [])]
        )

    @property
    def kind(self) -> Kind:
        """The kind of its examples."""
        if self.other_kind:
            return self.other_kind
        return FAMILIES[self.model["name"]].takes[0] if self.model else Kind.BITS

    @property
    def tokens(self) -> bool:
        """Whether its examples are documents."""
        return self.kind is Kind.TOKENS

    def build(self, seed: int = 0, scale: float = 0.8) -> nn.Module:
        """The model, every parameter N(0, scale^2)."""
        if self.missing:
            pytest.fail(f"{self.missing} has no tiny settings of its own: give the class ``tiny``")
        shape = () if self.kind is Kind.TOKENS else (1, VISIBLE)  # an image of one row
        mean = torch.linspace(0.1, 0.9, VISIBLE)

        longest = 0
        if self.kind is Kind.COUNTS:
            shape = ()
            mean = torch.tensor(COUNTED).float().mean(0)
            longest = max(map(sum, COUNTED))

        info = DataInfo(mean, self.kind, shape, longest)
        return drawn(models.build(self.model, info), scale, seeds.derive(seed, "init"))

    def rule(self, seed: int = 0, scale: float = 0.8, **more: Any) -> nn.Module:
        """The objective around the model, every parameter N(0, scale^2)."""
        objective = objectives.build({**self.objective, **more}, self.build(seed))
        return drawn(objective, scale, seeds.derive(seed, "init"))

    def __str__(self) -> str:
        return self.label


def model_cases() -> list[Case]:
    """Every tiny model. If a family takes other examples first and counts as well, its last tiny
    model comes once more, on counts."""
    out = []
    on_counts = []
    for name, facts in FAMILIES.items():
        cls = models.model_class(name)
        if "tiny" not in vars(cls):
            out.append(Case(missing=f"model {cls.__name__}"))
            continue

        of_family = [Case({"name": name, **settings}) for settings in cls.tiny.values()]
        out += of_family
        if Kind.COUNTS in facts.takes[1:]:
            on_counts.append(replace(of_family[-1], other_kind=Kind.COUNTS))

    return out + on_counts


def objective_cases() -> list[Case]:
    """Every objective with every model that it trains."""
    cases = [*model_cases(), *_with_fixed_codes()]
    built = [(case, None if case.missing else case.build()) for case in cases]

    out = []
    for name, cls in objectives.OBJECTIVES.items():
        if "tiny" not in vars(cls):
            out.append(Case(missing=f"objective {cls.__name__}"))
            continue
        for case, model in built:
            if case.missing or cls.trains(model):
                out += [_able(replace(case, objective={"name": name, **s})) for s in cls.tiny]

    return out


def _with_fixed_codes() -> list[Case]:
    """Every autoregressive belief net once more, with codes that are a function of the data."""
    autoregressive = [
        case
        for case in model_cases()
        if not case.missing and case.model.get("posterior") == "autoregressive"
    ]
    return [
        replace(case, model={**case.model, "posterior": "deterministic"}) for case in autoregressive
    ]


def _able(case: Case) -> Case:
    """The case without what the objective refuses: noise on the input, for which it draws nothing,
    or chains that are kept, for counts.

    Any other refusal is raised: ``tiny`` settings are those of a model or objective that works.
    """
    if case.missing:
        return case

    # Ask the objective itself what it refuses, by building it.
    try:
        objectives.build(case.objective, case.build())
    except UserError as refusal:
        if "for models of bits only" in str(refusal) and case.kind is Kind.COUNTS:
            return replace(
                case, objective={k: v for k, v in case.objective.items() if k != "chains"}
            )
        if "without dropout or noise on its input" not in str(refusal):
            raise

        # The input noise of documents is dropout of words, of images it is a kind of noise.
        no_noise = (
            {"dropout_in": 0.0, "dropout_out": 0.0}
            if case.kind is Kind.TOKENS
            else {"input_noise": "none"}
        )
        return replace(case, model={**case.model, **no_noise})

    return case


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "model_case" in metafunc.fixturenames:
        with_latents = [
            c for c in model_cases() if c.missing or FAMILIES[c.model["name"]].latent != "none"
        ]
        metafunc.parametrize("model_case", with_latents, ids=str)

    # Models without latents too, and those of fixed codes.
    if "any_case" in metafunc.fixturenames:
        metafunc.parametrize("any_case", [*model_cases(), *_with_fixed_codes()], ids=str)
    # The scope brings the tests of one case together, so that they find each other's trained packs.
    if "objective_case" in metafunc.fixturenames:
        metafunc.parametrize("objective_case", _objective_cases(), ids=str, scope="module")

    if "case_of_objective" in metafunc.fixturenames:
        images_last = sorted(_objective_cases(), key=lambda case: not case.tokens)

        # One case for each objective, its last one; not of documents if it has another.
        by_objective = {case.objective.get("name", case.missing): case for case in images_last}
        metafunc.parametrize("case_of_objective", by_objective.values(), ids=str)


@lru_cache(maxsize=1)
def _objective_cases() -> list[Case]:
    """Made once for all tests, since it builds every model."""
    return objective_cases()


@pytest.fixture
def x(request) -> Tensor:
    """Six examples, no two alike: bits, documents of the words 3 and 4, or counts of five words."""
    # Which kind of examples: that of the case with which the test is parametrised.
    params = getattr(getattr(request.node, "callspec", None), "params", {})
    if any(isinstance(v, Case) and v.kind is Kind.COUNTS for v in params.values()):
        return torch.tensor(COUNTED, dtype=torch.float32)

    if any(isinstance(v, Case) and v.tokens for v in params.values()):
        return torch.tensor(
            [[1, *(3 + int(c) for c in word), 2, 0, 0, 0][:VISIBLE] for word in DOCUMENTS]
        )

    return torch.tensor(
        [[c >> i & 1 for i in range(VISIBLE)] for c in (0, 5, 9, 14, 22, 31)], dtype=torch.float32
    )


@pytest.fixture
def draw():
    """draw(shapes, seed) -> noise."""
    return lambda shapes, seed=0: noise.fixed(shapes, seed, "noise")
