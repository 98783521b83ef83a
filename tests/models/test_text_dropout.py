"""Dropout of words and outputs: its law, its scale, what shares it, and what has none."""

from __future__ import annotations

import math

import pytest
import torch
from kit.text_vae import DOCUMENTS, EMBEDDING, VOCABULARY, K, built, codes, masks, rows

from vaebench import objectives
from vaebench.objectives.base import Batch
from vaebench.rng import noise


def test_samples_of_a_document_share_its_dropout():
    model = built()
    x = rows(DOCUMENTS)
    (z,) = codes(K, len(DOCUMENTS))
    drop = masks(model, *x.shape)
    one_by_one = torch.cat([model.log_likelihood(x, [v[None]], drop) for v in z])

    torch.testing.assert_close(model.log_likelihood(x, [z], drop), one_by_one, rtol=0, atol=1e-13)


def test_dropout_keeps_a_unit_from_its_rate_on_and_scales_it():
    model = built(dropout_in=0.25, dropout_out=0.25)

    # Two time steps of one row of ones; noise for three steps, of which the first two are used.
    v = torch.ones(2, 1, EMBEDDING, dtype=torch.float64)
    u = torch.tensor(
        [[[0.0, 0.249, 0.25, 0.999], [0.3, 0.2, 0.1, 0.9], [0.0] * 4]], dtype=torch.float64
    )
    dropped = model.p._dropped("drop_in", v, {"drop_in": u})

    assert torch.equal(
        dropped, torch.tensor([[[0, 0, 1, 1]], [[1, 0, 0, 1]]], dtype=torch.float64) / 0.75
    )


def test_the_law_of_dropout():
    """Kept with probability 1 - rate, independently. A |z| of 5 is exceeded by chance by
    one of the 4 in 400,000."""
    model = built(dropout_in=0.3, dropout_out=0.7, embedding=40, units=40)
    shapes = model.dropout_noise(50, 21)
    assert shapes == {"drop_in": ("uniform", (50, 20, 40)), "drop_out": ("uniform", (50, 20, 40))}

    draws = noise.fixed(shapes, 3, "noise")

    for name, rate in (("drop_in", 0.3), ("drop_out", 0.7)):
        kept = model.p._dropped(name, torch.ones(20, 50, 40), draws)
        n = kept.numel()
        assert kept.unique().tolist() == pytest.approx([0, 1 / (1 - rate)])
        assert abs(float(kept.mean()) - 1) / math.sqrt(rate / (1 - rate) / n) < 5

        # Units beside one another are dropped independently: their covariance is zero.
        a = kept[:, :, ::2] - 1
        b = kept[:, :, 1::2] - 1
        assert abs(float((a * b).mean())) / (rate / (1 - rate) / math.sqrt(n / 2)) < 5


def test_a_rate_of_zero_needs_no_noise():
    model = built(dropout_in=0.0, dropout_out=0.0)
    x = rows(DOCUMENTS)
    z = codes(1, len(DOCUMENTS))

    assert model.dropout_noise(4, 9) == {}
    assert torch.equal(model.log_likelihood(x, z, {}), model.log_likelihood(x, z))
    assert set(built(dropout_out=0.0).dropout_noise(4, 9)) == {"drop_in"}


def test_dropout_leaves_the_code_alone():
    """With all words and outputs dropped the next word is uniform, whatever the code."""
    model = built()
    x = rows(DOCUMENTS)
    z = codes(1, len(DOCUMENTS))

    # Noise below every rate drops everything.
    all_dropped = {
        k: torch.zeros(v[1], dtype=torch.float64) for k, v in model.dropout_noise(*x.shape).items()
    }
    predicted = torch.tensor([[len(d) - 1.0 for d in DOCUMENTS]], dtype=torch.float64)

    torch.testing.assert_close(
        model.log_likelihood(x, z, all_dropped), -predicted * math.log(VOCABULARY)
    )

    # With the outputs kept the code has its say.
    outputs = {**all_dropped, "drop_out": torch.ones_like(all_dropped["drop_out"])}
    assert not torch.allclose(
        *(model.log_likelihood(x, codes(1, len(x), s), outputs) for s in (0, 1))
    )


def test_dropout_leaves_the_encoder_alone():
    """Steps that drop every word and none have the KL of the encoder without dropout; their bounds
    differ."""
    model = built()
    x = rows(DOCUMENTS)
    rule = objectives.build({"name": "vae"}, model)
    draws = {k: v.double() for k, v in noise.fixed(rule.draws(*x.shape), 0, "noise").items()}

    # Noise of 0 is below every rate, noise of 1 above.
    steps = []
    for uniform in (0.0, 1.0):
        drop = {k: torch.full_like(v, uniform) for k, v in draws.items() if k.startswith("drop")}
        batch = Batch(x, update=torch.tensor(0), passes=torch.tensor(0.0))
        steps.append(rule(rule.state(0, len(x)), batch, {**draws, **drop})[2])

    dropped, kept = steps
    mean, log_var = model.encode(x)
    kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum(1).mean()

    torch.testing.assert_close(dropped["kl"], kl)
    torch.testing.assert_close(kept["kl"], kl)
    assert not torch.isclose(dropped["bound"], kept["bound"])
