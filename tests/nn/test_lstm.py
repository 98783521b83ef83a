"""The LSTM: torch's own module as second implementation, a step at a time,
states of padded sequences."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call

from vaebench.nn.lstm import LSTM, last

TIME = 6
BATCH = 4
INPUTS = 5
UNITS = 3
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def made(seed=0, dtype=torch.float64):
    lstm = LSTM(INPUTS, UNITS).to(dtype)
    with torch.no_grad():
        for i, p in enumerate(lstm.parameters()):
            p.copy_(draw(*p.shape, seed=seed + i))
    return lstm


def theirs(lstm):
    torch_lstm = nn.LSTM(INPUTS, UNITS).to(lstm.weight_ih.dtype)
    torch_lstm.load_state_dict({f"{name}_l0": getattr(lstm, name) for name in NAMES})
    return torch_lstm


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stateful", [False, True])
def test_values_and_gradients_are_those_of_torch(dtype, stateful):
    lstm = made(dtype=dtype)
    torch_lstm = theirs(lstm)
    x, h, c = (
        draw(*s, seed=9, dtype=dtype)
        for s in ((TIME, BATCH, INPUTS), (BATCH, UNITS), (BATCH, UNITS))
    )
    weight = draw(TIME, BATCH, UNITS, seed=10, dtype=dtype)

    results = []
    for f in (
        lambda v, h, c: lstm(v, (h, c) if stateful else None),
        lambda v, h, c: torch_lstm(v, (h[None], c[None]) if stateful else None),
    ):
        # The loss weighs every output and both last states, so no gradient is zero.
        leaves = [v.clone().requires_grad_() for v in (x, h, c)]
        out, (hn, cn) = f(*leaves)
        loss = (out * weight).sum() + 2 * hn.sum() + 3 * cn.sum()
        parameters = (
            [getattr(lstm, n) for n in NAMES]
            if not results
            else [getattr(torch_lstm, f"{n}_l0") for n in NAMES]
        )
        differentiated = [*parameters, *(leaves if stateful else leaves[:1])]
        results.append(
            [
                out,
                hn.reshape(BATCH, -1),
                cn.reshape(BATCH, -1),
                *torch.autograd.grad(loss, differentiated),
            ]
        )

    for ours, torchs in zip(*results, strict=True):
        torch.testing.assert_close(ours, torchs)


@torch.no_grad()
def test_the_parts_of_the_inputs_and_single_steps_make_the_whole():
    lstm = made()
    x = draw(TIME, BATCH, INPUTS, seed=9)
    h = draw(BATCH, UNITS, seed=11)
    c = draw(BATCH, UNITS, seed=12)

    # In one pass; then the gates from two parts of the inputs, and step after step.
    out, (hn, cn) = lstm(x, (h, c))
    h = h.clone()
    c = c.clone()
    gates = lstm.input_gates(x[..., :2]) + lstm.input_gates(x[..., 2:], 2, bias=False)

    for t in range(TIME):
        lstm.step_(gates[t], h, c)
        torch.testing.assert_close(h, out[t], rtol=0, atol=1e-14)

    torch.testing.assert_close((h, c), (hn, cn), rtol=0, atol=1e-14)


@torch.no_grad()
def test_a_step_of_extreme_gates_is_finite_and_saturated():
    lstm = LSTM(INPUTS, 1)

    # Gates i, f, g, o of three examples whose cell holds 40. The first adds 1, the second keeps it
    # (its input gate is closed), the third subtracts 1 and closes the output.
    gates = torch.tensor([[1e4, 1e4, 1e4, 1e4], [-1e4, 1e4, -1e4, 1e4], [1e4, 1e4, -1e4, -1e4]])
    h = torch.zeros(3, 1)
    c = torch.full((3, 1), 40.0)
    lstm.step_(gates, h, c)

    assert c.tolist() == [[41.0], [40.0], [39.0]]
    assert h.tolist() == [[1.0], [1.0], [0.0]]


def test_parameters_that_are_passed_by_name_are_the_ones_that_are_used():
    """In training a step is a function of its parameters; torch's own module keeps a list of those
    it was made with."""
    module = made(0)
    source = made(20)
    x = draw(TIME, BATCH, INPUTS, seed=9)
    params = {name: p.detach().clone().requires_grad_() for name, p in source.named_parameters()}
    out, _ = functional_call(module, params, (x,))

    torch.testing.assert_close(out, source(x)[0], rtol=0, atol=0)

    gradients = torch.autograd.grad(source(x)[0].sum(), list(source.parameters()))
    torch.testing.assert_close(
        torch.autograd.grad(out.sum(), list(params.values())), gradients, rtol=0, atol=1e-14
    )


def test_last_states_do_not_see_what_follows():
    lstm = made()
    x = draw(TIME, BATCH, INPUTS, seed=9)
    lengths = torch.tensor([6, 1, 3, 5])
    last_states = last(lstm(x)[0], lengths)

    for i, n in enumerate(lengths.tolist()):
        torch.testing.assert_close(
            last_states[i : i + 1], lstm(x[:n, i : i + 1])[1][0], rtol=0, atol=1e-14
        )
