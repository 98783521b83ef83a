"""The loops with which models with Gaussian latents are compared make the same update."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vaebench import cli, models, objectives
from vaebench.bench import gaussian as bench
from vaebench.bench import gaussian_loops as loops
from vaebench.bench import jax_gaussian, sections
from vaebench.data.info import DataInfo
from vaebench.objectives.base import Batch
from vaebench.training import choice

ADAGRAD = {"name": "adagrad", "rate": 0.02}

VAE = {**bench.VAE, "latents": 2, "encoder": [4]}
DLGM = {**bench.DLGM, "dims": [3], "hidden": [4, 5]}

SMALL = {
    "vae": bench.Family(VAE, {"name": "vae", "samples": 2}, ADAGRAD, 3),
    "dlgm": bench.Family(DLGM, {"name": "free_energy"}, bench.ADAM, 3),
    "dlgm, rank one": bench.Family(
        {**DLGM, "covariance": "rank_one"}, {"name": "free_energy"}, bench.ADAM, 3
    ),
    "iwae": bench.Family(
        {**VAE, "encoder": [4, 5]}, {"name": "iw_bound", "samples": 4}, bench.ADAM, 3
    ),
}


@pytest.fixture
def jax(monkeypatch):
    pytest.importorskip("jax")
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


def step_of(family):
    """Parameters by name, cases (batch, d), normals (k, batch, n), our loss, and its gradients by
    name."""
    rule = objectives.build(family.objective, models.build(family.model, DataInfo(np.full(6, 0.3))))
    models.start(rule, {"init": "normal", "init_scale": 0.5}, 0)
    g = torch.Generator().manual_seed(1)
    x = (torch.rand(family.batch, 6, generator=g) < 0.4).float()
    normal = torch.randn(rule.draws(family.batch, 6)["q1"][1], generator=g)
    clocks = (torch.tensor(0), torch.tensor(0.0), torch.tensor(0.0))
    loss, _, _ = rule({}, Batch(x, torch.arange(family.batch), *clocks), {"q1": normal})
    params = {name.removeprefix("model."): v for name, v in rule.named_parameters()}
    grads = torch.autograd.grad(loss, list(params.values()))
    return (
        {k: v.detach() for k, v in params.items()},
        x,
        normal,
        loss.item(),
        dict(zip(params, grads, strict=True)),
    )


@pytest.mark.parametrize("name", SMALL)
def test_the_loss_of_the_pytorch_loop_is_ours(name):
    family = SMALL[name]
    params, x, normal, our_loss, our_grads = step_of(family)
    leaves = {k: v.clone().requires_grad_() for k, v in params.items()}
    loss = bench.loss_of(family, loops.LIBRARY)(leaves, x, normal)

    assert loss.item() == pytest.approx(our_loss, rel=1e-5)

    loss.backward()
    for key, leaf in leaves.items():
        torch.testing.assert_close(leaf.grad, our_grads[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_the_loss_of_the_jax_loop_is_ours(jax, name):
    import jax as module

    family = SMALL[name]
    params, x, normal, our_loss, our_grads = step_of(family)
    loss = bench.loss_of(family, jax_gaussian.library())
    jax_params = {k: module.numpy.asarray(v.numpy()) for k, v in params.items()}
    value, jax_grads = module.value_and_grad(loss)(jax_params, x.numpy(), normal.numpy())

    assert float(value) == pytest.approx(our_loss, rel=1e-5)
    for key, our_grad in our_grads.items():
        np.testing.assert_allclose(
            np.asarray(jax_grads[key]), our_grad.numpy(), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("optim", [bench.ADAM, ADAGRAD], ids=lambda o: o["name"])
def test_the_jax_loop_steps_as_pytorch_does(jax, optim):
    """The loss of a parabola falls alike, update after update. The loop gives the mean of two."""
    start = torch.tensor([1.0, -2.0, 0.3])
    loop = jax_gaussian.updates(
        lambda p, x, n: (p["v"] ** 2).sum(),
        {"v": start},
        optim,
        torch.zeros(4, 1),
        2,
        (1, 1),
        length=2,
    )
    v = start.clone().requires_grad_()
    descent = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad}[optim["name"]](
        [v], lr=optim["rate"]
    )

    for number in range(4):
        losses = []
        for _ in range(2):
            descent.zero_grad()
            loss = v.square().sum()
            loss.backward()
            descent.step()
            losses.append(loss.item())

        assert loop(number) == pytest.approx(sum(losses) / 2, rel=1e-5)


def test_the_pytorch_loop_trains():
    family = SMALL["vae"]
    params, x, normal, before, _ = step_of(family)
    loss = bench.loss_of(family, loops.LIBRARY)
    update = loops.updates(loss, params, family.optim, x.to(torch.uint8), 3, (2, 2))
    for number in range(100):
        update(number)

    assert loss(params, x, normal).item() < before - 0.3


def test_the_section(monkeypatch, capsys):
    monkeypatch.setattr(choice, "compiler_found", lambda: False)
    monkeypatch.setattr(sections.bench_gaussian, "FAMILIES", {"VAE tiny": SMALL["vae"]})

    assert cli.main(["bench", "--only", "VAE tiny", "--seconds", "0.01", "run.device=cpu"]) == 0

    head, line = capsys.readouterr().out.splitlines()[-2:]
    assert head.split() == ["plain", "compiled", "PyTorch", "loop", "ours", "/", "best", "loop"]

    plain, compiled, pytorch, ratio = line.removeprefix("VAE tiny").split()
    assert compiled == "-"
    # The numbers of the line are rounded; those behind the ratio are not.
    assert float(ratio) == pytest.approx(float(plain) / float(pytorch), rel=0.1)


def test_a_block_is_as_long_as_in_training(monkeypatch):
    advanced = []
    monkeypatch.setattr(
        bench,
        "advance",
        lambda pack, number, length, batch: advanced.append((number, length, batch)),
    )

    # An objective with blocks of one update makes 20 of them, another a single block of 20.
    for block, length, count in ((1, 1, 20), (None, 20, 1)):
        advanced.clear()
        pack = type("Pack", (), {"objective": type("Rule", (), {"block": block})})
        bench.blocks(pack, 7, 2)

        assert advanced == [(2 * count + i, length, 7) for i in range(count)]
