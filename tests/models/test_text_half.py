"""Training models of documents with bfloat16 products: gradients, likelihoods and
results beside float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vaebench import models, objectives, optim
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.nn import word_softmax
from vaebench.objectives.base import Batch
from vaebench.training.engines import Pack, check_precision

VOCABULARY = 600
BATCH = 16
WIDTH = 14
RULES = {"text_vae": "vae", "text_lm": "likelihood"}


def documents(count: int, seed: int = 0) -> torch.Tensor:
    """Documents of five to twelve words with a pattern: each word follows from the one before, more
    often than not."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((count, WIDTH), np.int16)
    for row in rows:
        n = rng.integers(5, WIDTH - 1)
        words = [int(rng.zipf(1.3) % (VOCABULARY - 4)) + 4]
        while len(words) < n:
            follows = (words[-1] * 7) % (VOCABULARY - 4) + 4
            words.append(
                follows if rng.random() < 0.7 else int(rng.zipf(1.3) % (VOCABULARY - 4)) + 4
            )

        # <s> is 1 and </s> is 2.
        row[0] = 1
        row[1 : n + 1] = words
        row[n + 1] = 2

    return torch.from_numpy(rows)


def objective(name: str, dropout: float = 0.0):
    settings = {"embedding": 24, "units": 48, "dropout_in": dropout, "dropout_out": dropout}
    settings |= {"latents": 4} if name == "text_vae" else {}
    info = DataInfo(np.full(VOCABULARY, 1 / VOCABULARY), Kind.TOKENS)
    rule = objectives.build({"name": RULES[name]}, models.build({"name": name, **settings}, info))
    models.start(rule, {"init": "text", "init_scale": 0.1, "embedding_scale": 0.3}, 0)
    return rule


def made(name: str, precision: str, data: torch.Tensor, dropout: float = 0.0) -> Pack:
    rule = objective(name, dropout)
    descent = optim.build({"name": "clipped_sgd", "rate": 0.5})
    params = {k: v.detach().clone() for k, v in rule.named_parameters()}
    parts = ([params], [rule.state(0, len(data))], [descent.state(params)])
    return Pack(rule, descent, *parts, data=data, kind=Kind.TOKENS, precision=precision)


def step(name: str, half: bool):
    """Loss and gradient of one batch, by the step of training."""
    rule = objective(name)
    with torch.no_grad():
        # Logits of some size, and probabilities that differ.
        rule.model.p.output.mul_(8)

    x = documents(BATCH)
    g = torch.Generator().manual_seed(3)
    noise = {
        k: torch.randn(shape, generator=g) for k, (_, shape) in rule.draws(BATCH, WIDTH).items()
    }
    batch = Batch(x, update=torch.tensor(0), passes=torch.tensor(1.0))
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss, _, _ = rule(rule.state(), batch, noise)
    grads = torch.autograd.grad(loss, list(rule.parameters()))
    return loss.detach(), dict(zip(dict(rule.named_parameters()), grads, strict=True))


@pytest.mark.parametrize("blocks", [True, False])
@pytest.mark.parametrize("name", RULES)
def test_a_gradient_is_that_of_float32(name, blocks, monkeypatch):
    """The gradient of every parameter has the direction and the length of float32's: with the
    vocabulary in blocks, as if it were large, and at once."""
    monkeypatch.setattr(word_softmax, "SMALL", 512 if blocks else 10**6)
    loss, gradients = step(name, half=False)
    half_loss, half_gradients = step(name, half=True)

    assert half_loss.dtype == torch.float32
    assert abs(float(half_loss - loss)) < 1e-3 * float(loss)

    # Otherwise nothing was computed in half precision.
    assert any(not torch.equal(half_gradients[key], v) for key, v in gradients.items())

    for key, v in gradients.items():
        assert half_gradients[key].dtype == torch.float32
        if float(v.norm()) > 0:
            assert (
                torch.nn.functional.cosine_similarity(
                    half_gradients[key].flatten(), v.flatten(), dim=0
                )
                > 0.999
            ), key
            assert float(half_gradients[key].norm() / v.norm()) == pytest.approx(1, abs=0.02), key


@pytest.mark.parametrize("name", RULES)
def test_a_training_ends_where_that_of_float32_does(name):
    """After 100 updates the NLL has fallen by tens of nats. Its mean over three seeds is within a
    nat of float32's.

    The difference of one seed has a standard deviation of half a nat, as much as other noise would
    make.
    """
    data = documents(320)
    held_out = documents(64, seed=1)

    def trained(precision: str, seed: int) -> float:
        pack = made(name, precision, data, dropout=0.3)
        g = torch.Generator().manual_seed(seed)
        rows = torch.randint(len(data), (100, 1, BATCH), generator=g)
        law = {"uniform": torch.rand, "normal": torch.randn}
        noise = {
            k: law[kind](100, 1, *shape, generator=g)
            for k, (kind, shape) in pack.draws(BATCH).items()
        }
        pack.advance(rows, noise, None)
        params, _, _ = pack.seed(0)

        assert all(v.dtype == torch.float32 for v in params.values())

        return nll(name, params, held_out)

    start = nll(name, dict(objective(name).named_parameters()), held_out)
    single, half = (
        np.array([trained(p, seed) for seed in range(3)]) for p in ("float32", "bfloat16")
    )

    # Both learn, they are not the same runs, and they end alike.
    assert (single < start - 20).all()
    assert (single != half).all()
    assert abs(float((half - single).mean())) < 1


@torch.no_grad()
def nll(name: str, params: dict[str, torch.Tensor], x: torch.Tensor) -> float:
    """The NLL of documents, nats: exact, or minus the bound at the posterior's means."""
    rule = objective(name)
    for key, v in rule.named_parameters():
        v.copy_(params[key])
    if name == "text_lm":
        return -float(rule.model.score(x).mean())
    posterior = rule.model.posterior(x)
    return float((posterior.kl() - rule.model.score(x, [posterior.mean.unsqueeze(0)])[0]).mean())


def test_semi_amortised_training_takes_it_too():
    """Three steps of refinement, through which second derivatives pass."""
    results = []
    for half in (False, True):
        rule = objectives.build(
            {"name": "semi_amortised", "svi_steps": 3}, objective("text_vae").model
        )
        with torch.no_grad():
            rule.model.p.output.mul_(8)
        check_precision(rule, "bfloat16")
        g = torch.Generator().manual_seed(3)
        noise = {
            k: torch.randn(shape, generator=g) for k, (_, shape) in rule.draws(BATCH, WIDTH).items()
        }
        batch = Batch(documents(BATCH), update=torch.tensor(0), passes=torch.tensor(1.0))
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss, _, _ = rule(rule.state(), batch, noise)
        grads = torch.autograd.grad(loss, list(rule.parameters()))
        results.append((float(loss.detach()), torch.cat([v.flatten() for v in grads])))

    (single_loss, single_gradient), (half_loss, half_gradient) = results

    assert abs(half_loss - single_loss) < 1e-3 * single_loss
    assert not torch.equal(half_gradient, single_gradient)
    assert torch.nn.functional.cosine_similarity(half_gradient, single_gradient, dim=0) > 0.999
