"""Log-probabilities of words by blocks: the plain softmax as second
implementation, values and gradients."""

from __future__ import annotations

import pytest
import torch

from vaebench.nn import word_softmax

ROWS = 9
UNITS = 4
WORDS = 23


@pytest.fixture(params=[(512, 1), (4, 5), (1, 23), (9, 22), (512, 512)])
def blocks(request, monkeypatch):
    """Blocks of so many rows and words, also for small vocabularies."""
    monkeypatch.setattr(word_softmax, "ROWS", request.param[0])
    monkeypatch.setattr(word_softmax, "WORDS", request.param[1])
    monkeypatch.setattr(word_softmax, "SMALL", 0)
    return request.param


def draw(scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    h, weight = (
        torch.randn(*s, generator=generator, dtype=dtype) for s in ((ROWS, UNITS), (WORDS, UNITS))
    )
    # Some more than once, the first and the last among them.
    words = torch.tensor([0, 4, 5, 22, 22, 7, 22, 0, 10])
    return h.requires_grad_(), (scale * weight).requires_grad_(), words


def plain(h, weight, words):
    return (h @ weight.mT).log_softmax(1)[torch.arange(len(h)), words]


def test_values_and_gradients_are_those_of_the_plain_softmax(blocks):
    h, weight, words = draw()
    upstream = torch.linspace(-1, 2, ROWS, dtype=torch.float64)
    ours = word_softmax.log_probs(h, weight, words)
    by_softmax = plain(h, weight, words)

    torch.testing.assert_close(ours, by_softmax, rtol=0, atol=1e-13)

    loss = (ours * upstream).sum()
    by_softmax = torch.autograd.grad((by_softmax * upstream).sum(), (h, weight))

    # Twice: the backward pass must leave what the forward pass kept as it is.
    for _ in range(2):
        ours = torch.autograd.grad(loss, (h, weight), retain_graph=True)
        torch.testing.assert_close(ours, by_softmax, rtol=0, atol=1e-13)


def test_a_confident_gradient_keeps_its_digits_in_half_precision(blocks):
    """For words with probabilities up to 0.9999 the gradient is p - 1 itself, not the difference of
    two rounded numbers."""
    h, weight, words = draw(1.0, torch.float32)
    with torch.no_grad():
        # Hidden units along the weights of the right word make it nearly certain.
        h += 2.5 * weight[words]
    gradients = torch.autograd.grad(
        word_softmax.log_probs(h, weight, words, half=True).sum(), (h, weight)
    )
    log_p = plain(h, weight, words)

    assert float(log_p.detach().max()) > -1e-3

    exact_gradients = torch.autograd.grad(log_p.sum(), (h, weight))

    for gradient, exact_gradient in zip(gradients, exact_gradients, strict=True):
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(
            gradient, exact_gradient, rtol=0.03, atol=0.01 * float(exact_gradient.abs().max())
        )

    # Of the words that are nearly certain alone: the others would hide a loss of digits.
    sure = log_p > -0.01

    assert sure.any()
    torch.testing.assert_close(
        gradients[0][sure],
        exact_gradients[0][sure],
        rtol=0.05,
        atol=0.02 * float(exact_gradients[0][sure].abs().max()),
    )


@pytest.mark.parametrize("scale", [100.0, 1e4])
def test_blocks_of_very_different_weight(blocks, scale):
    """Logits of hundreds and thousands in float32: whole blocks without
    probability, and no overflow."""
    h, weight, words = draw(scale, torch.float32)
    log_p = word_softmax.log_probs(h, weight, words)
    exact_inputs = (h.detach().double().requires_grad_(), weight.detach().double().requires_grad_())
    exact_log_p = plain(*exact_inputs, words)

    torch.testing.assert_close(log_p.double(), exact_log_p, rtol=1e-5, atol=1e-4)

    gradients = torch.autograd.grad(log_p.sum(), (h, weight))
    exact_gradients = torch.autograd.grad(exact_log_p.sum(), exact_inputs)

    for gradient, exact_gradient in zip(gradients, exact_gradients, strict=True):
        assert torch.isfinite(gradient).all()
        torch.testing.assert_close(
            gradient.double(),
            exact_gradient,
            rtol=1e-3,
            atol=1e-3 * float(exact_gradient.abs().max()),
        )


@pytest.mark.parametrize("size", [1, 4, 23])
@torch.no_grad()
def test_sums_of_blocks(size):
    h, weight, _ = draw()
    block_sums = torch.stack([torch.logsumexp(part, 1) for part in (h @ weight.mT).split(size, 1)])
    torch.testing.assert_close(
        word_softmax.log_sums(h, weight, size), block_sums, rtol=0, atol=1e-13
    )


def test_small_vocabularies_are_left_to_pytorch_and_as_good():
    h, weight, words = draw()
    log_p = word_softmax.log_probs(h, weight, words)
    plain_log_p = plain(h, weight, words)

    torch.testing.assert_close(log_p, plain_log_p, rtol=0, atol=1e-13)
    assert "LogProbs" not in type(log_p.grad_fn).__name__
