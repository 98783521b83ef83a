"""The weighted bound, the weight of its KL, and the aggressive inner loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kit.parameters import drawn

from vaebench import models
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.objectives.aggressive import Aggressive, Window
from vaebench.objectives.base import Batch
from vaebench.objectives.kl_weight import KLWeight
from vaebench.objectives.likelihood import Likelihood
from vaebench.objectives.vae import VAE
from vaebench.rng import noise


def weights(at, batch=32, cases=100_000, **settings):
    """Weights in the updates ``at`` (0-based)."""
    rule = KLWeight(
        **{
            "final": 1.0,
            "start": None,
            "warmup": 10.0,
            "unit": "epochs",
            "slope": "rest",
            **settings,
        }
    )

    # An update of ``batch`` of ``cases`` examples is that share of a pass.
    clock = lambda u: {"update": torch.tensor(u), "passes": torch.tensor((u + 1) * batch / cases)}  # noqa: E731
    return [float(rule.at(Batch(DOCUMENTS, **clock(u)))) for u in at]


def test_a_fixed_weight():
    assert weights([0, 10, 10**6]) == [1.0, 1.0, 1.0]
    assert weights([0, 10**6], final=0.4) == pytest.approx([0.4, 0.4])


def test_a_weight_that_arrives_with_the_end_of_the_warm_up():
    # 3,125 updates an epoch: the weight rises by 0.9 / 31,250 before each update.
    assert weights([0, 3124, 31248, 31249, 99999], start=0.1) == pytest.approx(
        [0.1 + 0.9 / 31250, 0.19, 1 - 0.9 / 31250, 1.0, 1.0], abs=1e-6
    )


def test_a_steeper_slope_arrives_after_nine_of_ten_epochs():
    # "whole": the slope of a weight that rises from 0 to 1, so it arrives early.
    rising = weights([0, 28123, 28124, 31250], start=0.1, slope="whole")
    assert rising == pytest.approx([0.1 + 1 / 31250, 1 - 1 / 31250, 1.0, 1.0], abs=1e-6)


def test_a_warm_up_in_updates():
    assert weights([0, 499, 999, 2000], start=0.0, warmup=1000, unit="updates") == pytest.approx(
        [0.001, 0.5, 1.0, 1.0]
    )


@pytest.mark.parametrize(
    ("wrong", "key"),
    [({"start": 2.0}, "kl_start"), ({"start": -0.1}, "kl_start"), ({"unit": "days"}, "kl_unit"),
     ({"slope": "x"}, "kl_slope"), ({"warmup": 0}, "kl_warmup"), ({"final": -0.1}, "kl_weight"),
     ({"final": "x"}, "kl_weight")],
)  # fmt: skip
def test_bad_weights(wrong, key):
    with pytest.raises(UserError, match=f"objective.{key}="):
        weights([0], **wrong)


# ----------------------------------------------------------------------------------- the inner loop


def length(losses, words=10, **settings):
    """Updates that an inner loop makes when the losses of its updates are these."""
    loop = Window(**{"window": 3, "most": 99, "strict": True, "fixed": None, **settings})
    feed = iter(losses)
    updates = 0

    while loop.going:
        loop.observe(next(feed), words)
        updates += 1

    return updates


def test_the_loop_ends_with_the_first_worse_window():
    # Windows of three updates each, all of them better than the one before.
    better = [30, 30, 30, 29, 29, 29, 28, 28, 28]

    assert length([*better, 28, 28, 28.1, *[0] * 90]) == 12
    assert length([*better, 28, 28, 28, 27, *[40] * 90]) == 15  # as good is good enough
    assert length([*better, 28, 28, 28, 27, *[40] * 90], strict=False) == 12
    assert length([5, 5, 5, 6, 6, 6]) == 6  # never before two windows


def test_the_loop_has_a_cap():
    assert length(range(1000, 0, -1)) == 99
    assert length(range(1000, 0, -1), most=7) == 7


def test_a_fixed_loop_compares_nothing():
    assert length([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], fixed=10) == 10


def test_windows_are_compared_by_word():
    loop = Window(1, 99, True, None)
    loop.observe(10.0, 10)  # 1 a word
    loop.observe(18.0, 20)  # 0.9: more in all, less a word

    assert loop.going

    loop.observe(9.5, 10)
    assert not loop.going


def test_a_window_starts_afresh():
    """The sums of one window do not enter the next: the third is worse than the second."""
    assert length([9, 9, 9, 1, 1, 1, 2, 2, 2]) == 9


# ---------------------------------------------------------------------------------------- the rules

DOCUMENTS = torch.tensor([[1, 3, 2, 0, 0], [1, 4, 3, 2, 0], [1, 3, 4, 4, 2]])


def text_vae(seed=0, **settings):
    model = models.build(
        {"name": "text_vae", "latents": 1, "embedding": 3, "units": 4, **settings},
        DataInfo(np.full(5, 0.2), Kind.TOKENS),
    )
    return drawn(model.double(), 0.8, seed)


def clock(update=0, passes=0.1):
    return {"update": torch.tensor(update), "passes": torch.tensor(passes)}


def exact_terms(model, x, points=4001):
    """E_q log p(x | z) and KL(q || p) of every case by a sum over a grid of z; differentiable in
    every parameter."""
    # The integral as a sum; beyond these ends q has nothing, see the check.
    z = torch.linspace(-12, 12, points, dtype=torch.float64)[:, None, None].expand(-1, len(x), -1)
    log_q = model.log_posterior([z], x)
    log_p_x, log_p_z = model.log_joint_terms(x, [z])
    q = log_q.exp() * (24 / (points - 1))

    torch.testing.assert_close(q.sum(0), torch.ones(len(x), dtype=torch.float64), rtol=0, atol=1e-8)

    return (q * log_p_x).sum(0), (q * (log_q - log_p_z)).sum(0)


@pytest.mark.parametrize("weight", [1.0, 0.4])
def test_the_expected_gradient_is_that_of_the_exact_bound(weight):
    """Quantiles of the normal in place of its samples: the mean over them is
    the expectation, to 1/K."""
    k = 20_000
    model = text_vae(dropout_in=0, dropout_out=0)
    rule = VAE(model, samples=k, kl_weight=weight)

    # The midpoints of k equal parts of (0, 1), as quantiles: one latent, the same for every
    # document.
    u = (torch.arange(k, dtype=torch.float64) + 0.5) / k
    eps = torch.special.ndtri(u)[:, None, None].expand(-1, len(DOCUMENTS), -1)

    loss, _, metrics = rule({}, Batch(DOCUMENTS, **clock()), {"q1": eps})
    reconstruction, kl = exact_terms(model, DOCUMENTS)
    wanted = (weight * kl - reconstruction).mean()

    assert loss.item() == pytest.approx(wanted.item(), abs=1e-3)
    assert float(metrics["bound"]) == pytest.approx((reconstruction - kl).mean().item(), abs=1e-3)
    assert float(metrics["kl"]) == pytest.approx(kl.mean().item(), abs=1e-6)

    names, values = zip(*model.named_parameters(), strict=True)
    ours = torch.autograd.grad(loss, values)
    exact = torch.autograd.grad(wanted, values)

    for name, a, b in zip(names, ours, exact, strict=True):
        torch.testing.assert_close(
            a, b, rtol=2e-3, atol=2e-3, msg=lambda m, name=name: f"{name}: {m}"
        )

    # Else gradients that vanish would agree.
    assert max(float(b.abs().max()) for b in exact) > 0.05


def test_fewer_documents_take_the_first_of_the_noise_and_their_own_mean():
    model = text_vae()
    rule = Aggressive(model)
    draws = noise.fixed(rule.draws(7, DOCUMENTS.shape[1] + 2), 0, "noise")

    draws = {k: v.double() for k, v in draws.items()}

    # The noise was drawn for seven longer documents; a batch takes the first rows and columns.
    losses = [rule({}, Batch(DOCUMENTS[:b], **clock()), draws)[0] for b in (1, 2, 3)]

    # The same, document by document, each with its own rows of noise.
    by_document = [
        rule(
            {},
            Batch(DOCUMENTS[i : i + 1], **clock()),
            {k: v[:, i:] if k == "q1" else v[i:] for k, v in draws.items()},
        )[0]
        for i in range(3)
    ]

    for b in (1, 2, 3):
        torch.testing.assert_close(losses[b - 1], sum(by_document[:b]) / b)


def test_dropout_is_on_in_training():
    model = text_vae()
    rule = VAE(model)
    draws = {k: v.double() for k, v in noise.fixed(rule.draws(3, 5), 0, "noise").items()}

    assert set(draws) == {"q1", "drop_in", "drop_out"}

    # Noise of ones drops nothing; what is kept is scaled all the same.
    all_kept = {k: torch.ones_like(v) if k != "q1" else v for k, v in draws.items()}
    loss_with, loss_without = (
        rule({}, Batch(DOCUMENTS, **clock()), d)[0] for d in (draws, all_kept)
    )

    assert not torch.allclose(loss_with, loss_without)

    # Without any dropout nothing is scaled: by 2, at the share of one half that is the default.
    loss_of_rate_0, _, _ = VAE(text_vae(dropout_in=0, dropout_out=0))(
        {}, Batch(DOCUMENTS, **clock()), {"q1": draws["q1"]}
    )

    assert not torch.allclose(loss_of_rate_0, loss_without)


def test_maximum_likelihood():
    model = models.build(
        {"name": "text_lm", "embedding": 3, "units": 4, "dropout_in": 0},
        DataInfo(np.full(5, 0.2), Kind.TOKENS),
    ).double()
    rule = Likelihood(model)

    assert set(rule.draws(3, 5)) == {"drop_out"}

    draws = {
        "drop_out": torch.rand(
            3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
        )
    }

    loss, _, metrics = rule({}, Batch(DOCUMENTS), draws)

    torch.testing.assert_close(loss, -model.log_evidence(DOCUMENTS, draws).mean())
    assert float(metrics["bound"]) == -loss.item()
