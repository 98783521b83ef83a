"""DocNADE: probabilities over all short documents, a literal second implementation,
gradients by differences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from kit.parameters import drawn

from tests.kit.gradients import assert_finite_differences
from vaebench import models
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.models.doc_nade import DocNADE
from vaebench.nn import counts
from vaebench.objectives.base import Batch
from vaebench.objectives.ordered_likelihood import OrderedLikelihood
from vaebench.rng import noise, shuffles

VOCABULARY = 4
UNITS = 3

VARIANTS = list(itertools.product(("tree", "softmax"), ("sigmoid", "tanh")))


def built(output="tree", activation="sigmoid", seed=0, scale=0.8):
    rates = np.linspace(1, 2, VOCABULARY)
    info = DataInfo(rates, Kind.COUNTS)
    return drawn(DocNADE(info, [UNITS], output, activation).double(), scale, seed)


def literal(model, words):
    """log p of the words in the order given, one after the other, with a second
    implementation of the output."""
    total = 0.0
    a = model.p["words"]["bias"].clone()
    for word in words:
        # The next word given those before, then the state with this word added.
        h = {"sigmoid": torch.sigmoid, "tanh": torch.tanh}[model.activation](a)
        out = model.p["output"]
        if hasattr(out, "path"):
            # The tree: a walk from the root, halving the words first to end - 1.
            first = 0
            end = VOCABULARY
            while end - first > 1:
                middle = (first + end) // 2
                second = torch.sigmoid(out.weight[middle - 1] @ h + out.bias[middle - 1])
                total = total + torch.log(second if word >= middle else 1 - second)
                first, end = (middle, end) if word >= middle else (first, middle)
        else:
            total = total + torch.log_softmax(out.weight @ h + out.bias, 0)[word]

        a = a + model.p["words"]["embedding"][word]

    return total


def order_of(x, order):
    """The words of every document in the order that the noise makes, by the model's own shuffle."""
    word, document = counts.words_of(x)
    seed = shuffles.seeds_of(order["order"]) if order else torch.zeros(len(x), dtype=torch.int64)
    return word[shuffles.shuffled(document, seed)].split(x.sum(-1).int().tolist())


X = torch.tensor([[2, 0, 1, 3], [0, 0, 0, 0], [0, 1, 0, 0], [5, 2, 0, 1]]).double()


@pytest.mark.parametrize(("output", "activation"), VARIANTS)
@pytest.mark.parametrize("drawn", [True, False])
def test_values_are_those_of_a_literal_implementation(output, activation, drawn):
    model = built(output, activation)
    order = noise.fixed(model.order_noise(len(X)), 3, "noise") if drawn else None
    log_p = torch.stack(
        [torch.as_tensor(literal(model, w), dtype=torch.float64) for w in order_of(X, order)]
    )

    torch.testing.assert_close(model.log_evidence(X, order), log_p, rtol=0, atol=1e-12)
    torch.testing.assert_close(model.score(X, order), log_p.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("output", "activation"), VARIANTS)
@pytest.mark.parametrize("length", [1, 2, 3])
def test_probabilities_of_all_sequences_of_a_length_sum_to_one(output, activation, length):
    model = built(output, activation)
    sequences = torch.tensor(list(itertools.product(range(VOCABULARY), repeat=length)))
    document = torch.arange(len(sequences)).repeat_interleave(length)
    log_p = model.log_sequences(sequences.flatten(), document, len(sequences)).detach()

    assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("per", ["word", "example"])
def test_the_gradient_is_that_of_the_mean_over_words(per):
    model = built()
    rule = OrderedLikelihood(model, per)
    x = X[[0, 2, 3]]
    draws = noise.fixed(rule.noise(len(x)), 1, "noise")

    assert_finite_differences(model, lambda _: rule({}, Batch(x), draws)[0])

    # By hand: log p of each document, over its number of words if the loss is per word.
    log_p = [literal(model, w).item() for w in order_of(x, draws)]
    loss_by_hand = np.mean(
        [-v / (n if per == "word" else 1) for v, n in zip(log_p, x.sum(-1).tolist(), strict=True)]
    )
    loss, _, metrics = rule({}, Batch(x), draws)

    assert float(loss.detach()) == pytest.approx(loss_by_hand, abs=1e-12)
    assert float(metrics["bound"]) == pytest.approx(np.mean(log_p), abs=1e-12)

    # The metric is per word whatever the loss is.
    each_word = np.mean([-v / n for v, n in zip(log_p, x.sum(-1).tolist(), strict=True)])
    assert float(metrics["nll_per_word"]) == pytest.approx(each_word, abs=1e-12)


def test_another_order_is_another_probability_and_the_fixed_one_stays():
    model = built()
    drawn = [model.score(X, noise.fixed(model.order_noise(4), s, "noise")) for s in range(3)]
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(model.score(X), model.score(X))

    # Words that are all alike have one order.
    assert all(float(v[2]) == float(drawn[0][2]) for v in drawn)


def test_an_empty_document_has_probability_one_and_long_ones_are_split(monkeypatch):
    model = built()
    assert float(model.score(X)[1]) == 0.0

    order = noise.fixed(model.order_noise(4), 0, "noise")
    in_one_part = model.score(X, order)
    # Parts of at most seven words: three documents, then the longest alone.
    monkeypatch.setattr(DocNADE, "WORDS", 7)

    torch.testing.assert_close(model.score(X, order), in_one_part)
    assert [len(p) for p in counts.parts(X, 7)] == [3, 1]


def test_it_starts_as_the_unigram():
    """Weights near zero, biases of the output at the base rates."""
    config = {"name": "doc_nade", "dims": [UNITS], "init": "positive", "init_scale": 1e-5}
    model = models.build(config, DataInfo(np.array([0.4, 0.3, 0.2, 0.1]), Kind.COUNTS))
    models.start(torch.nn.ModuleDict({"model": model}), config, 0)
    log_p = model.score(torch.eye(4))

    np.testing.assert_allclose(log_p, np.log([0.4, 0.3, 0.2, 0.1]), atol=1e-3)

    embedding = model.p["words"]["embedding"].detach()
    assert float(embedding.min()) > 0
    assert float(embedding.max()) <= 1e-5


def test_it_learns_an_order_free_dependence():
    """Documents are one word six times: after training the second word is known from the first."""
    torch.manual_seed(0)
    model = built(scale=0.1)
    rule = OrderedLikelihood(model)
    x = 6.0 * torch.eye(VOCABULARY).double()
    descent = torch.optim.Adam(model.parameters(), lr=0.05)

    for update in range(300):
        descent.zero_grad()
        rule({}, Batch(x), noise.fixed(rule.noise(len(x)), update, "noise"))[0].backward()
        descent.step()

    # The first word costs log 4, the other five nothing.
    assert float(-model.score(x).mean()) == pytest.approx(math.log(4), abs=0.2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dims": [3, 3]}, "model.dims"),
        ({"dims": [0]}, "model.dims"),
        ({"output": "wood"}, "model.output"),
        ({"activation": "relu"}, "model.activation"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(UserError, match=message):
        DocNADE(DataInfo(np.ones(3), Kind.COUNTS), **settings)


def test_bad_settings_of_the_objective():
    with pytest.raises(UserError, match=r"objective\.per"):
        OrderedLikelihood(built(), "page")
