"""Batch normalisation against torch's own, and its statistics as a pure function."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vaebench.nn.batch_norm import BatchNorm, initial, name_norms, running
from vaebench.nn.mlp import NormalizedTanhNet

X = torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(0)) * 2 + 1


def layer(**settings):
    norm = BatchNorm(3, **settings)
    with torch.no_grad():
        norm.scale.copy_(torch.tensor([0.5, -1.0, 2.0]))
        norm.shift.copy_(torch.tensor([0.1, 0.2, -0.3]))

    norm.path = "here"
    return norm


def reference(norm):
    torch_norm = nn.BatchNorm1d(3, eps=norm.epsilon, momentum=1 - norm.momentum)
    with torch.no_grad():
        torch_norm.weight.copy_(norm.scale)
        torch_norm.bias.copy_(norm.shift)
    return torch_norm


def test_in_training_it_is_torchs_and_its_gradient_too():
    norm = layer()
    x = X.clone().requires_grad_()
    y = X.clone().requires_grad_()
    ours = norm(x, {})
    theirs = reference(norm).train()(y.reshape(-1, 3)).reshape(X.shape)

    torch.testing.assert_close(ours, theirs)

    (ours**3).sum().backward()
    (theirs**3).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-5)


def test_nothing_is_written_but_the_tape():
    norm = layer()
    batch_statistics = {}
    norm(X, batch_statistics)

    assert norm.mean.tolist() == [0, 0, 0]
    assert norm.variance.tolist() == [1, 1, 1]

    mean, variance = batch_statistics["here"]
    torch.testing.assert_close(mean, X.reshape(-1, 3).mean(0))
    torch.testing.assert_close(variance, X.reshape(-1, 3).var(0, unbiased=False))
    assert not mean.requires_grad
    assert not variance.requires_grad


def test_without_a_tape_the_buffers_count():
    norm = layer(epsilon=0.25)
    norm.mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    norm.variance.copy_(torch.tensor([0.75, 1.75, 3.75]))
    normalised = (X - norm.mean) / torch.tensor([1.0, 2.0**0.5, 2.0]) * norm.scale + norm.shift

    torch.testing.assert_close(norm(X), normalised)


@pytest.mark.parametrize("momentum", [0.8, 0.99])
def test_running_averages(momentum):
    net = NormalizedTanhNet(3, 5, 2, momentum)
    name_norms(net)
    state = initial(net, "model.")

    assert {k: (v.shape, float(v[0])) for k, v in state.items()} == {
        f"model.norms.{i}.{name}": ((5,), start)
        for i in range(2)
        for name, start in (("mean", 0.0), ("variance", 1.0))
    }

    first = {}
    second = {}
    net(X, first)
    net(X + 1, second)

    assert set(first) == {"norms.0", "norms.1"}

    # Two updates of a running average: m^2 start + m (1 - m) first + (1 - m) second.
    state = running(net, "model.", running(net, "model.", state, first), second)
    m = momentum

    for i in range(2):
        for j, (name, start) in enumerate((("mean", 0.0), ("variance", 1.0))):
            first_statistic = first[f"norms.{i}"][j]
            second_statistic = second[f"norms.{i}"][j]
            torch.testing.assert_close(
                state[f"model.norms.{i}.{name}"],
                m * m * start + m * (1 - m) * first_statistic + (1 - m) * second_statistic,
            )


def test_a_net_without_hidden_layers_is_the_identity():
    net = NormalizedTanhNet(3, 5, 0, 0.9)
    assert net.outputs == 3
    assert torch.equal(net(X, {}), X)


def test_repeated_cases_leave_the_statistics_as_they_are():
    norm = layer()
    once = {}
    often = {}
    norm(X[0], once)
    norm(X[:1].expand(6, -1, -1), often)

    for of_once, of_often in zip(once["here"], often["here"], strict=True):
        torch.testing.assert_close(of_once, of_often)
