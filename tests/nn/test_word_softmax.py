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
    """Vocabularies of all sizes go by blocks of so many rows and words."""
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
    found = word_softmax.log_probs(h, weight, words)
    wanted = plain(h, weight, words)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-13)
    loss = (found * upstream).sum()
    wanted = torch.autograd.grad((wanted * upstream).sum(), (h, weight))
    for _ in range(2):  # nothing that is kept is used up
        found = torch.autograd.grad(loss, (h, weight), retain_graph=True)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-13)


def test_a_confident_gradient_keeps_its_digits_in_half_precision(blocks):
    """Of words with probabilities up to 0.9999: the gradient is p - 1, not the difference of two
    rounded numbers."""
    h, weight, words = draw(1.0, torch.float32)
    with torch.no_grad():
        h += 2.5 * weight[words]
    found = torch.autograd.grad(
        word_softmax.log_probs(h, weight, words, half=True).sum(), (h, weight)
    )
    log_p = plain(h, weight, words)
    assert float(log_p.detach().max()) > -1e-3
    wanted = torch.autograd.grad(log_p.sum(), (h, weight))
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.03, atol=0.01 * float(b.abs().max()))
    sure = log_p > -0.01
    assert sure.any()
    torch.testing.assert_close(
        found[0][sure], wanted[0][sure], rtol=0.05, atol=0.02 * float(wanted[0][sure].abs().max())
    )


@pytest.mark.parametrize("scale", [100.0, 1e4])
def test_blocks_of_very_different_weight(blocks, scale):
    """Logits of hundreds and thousands in float32: whole blocks without
    probability, and no overflow."""
    h, weight, words = draw(scale, torch.float32)
    found = word_softmax.log_probs(h, weight, words)
    exact = (h.detach().double().requires_grad_(), weight.detach().double().requires_grad_())
    wanted = plain(*exact, words)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-4)
    one = torch.autograd.grad(found.sum(), (h, weight))
    two = torch.autograd.grad(wanted.sum(), exact)
    for a, b in zip(one, two, strict=True):
        assert torch.isfinite(a).all()
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))


@pytest.mark.parametrize("size", [1, 4, 23])
@torch.no_grad()
def test_sums_of_blocks(size):
    h, weight, _ = draw()
    wanted = torch.stack([torch.logsumexp(part, 1) for part in (h @ weight.mT).split(size, 1)])
    torch.testing.assert_close(word_softmax.log_sums(h, weight, size), wanted, rtol=0, atol=1e-13)


def test_small_vocabularies_are_left_to_pytorch_and_as_good():
    h, weight, words = draw()
    found = word_softmax.log_probs(h, weight, words)
    wanted = plain(h, weight, words)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-13)
    assert "LogProbs" not in type(found.grad_fn).__name__
