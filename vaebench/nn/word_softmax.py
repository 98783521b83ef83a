"""log p of one word each under softmaxes over a large vocabulary, whose logits are linear: log softmax(W h)_word.

The vocabulary passes by in blocks that stay near the processor, where the softmax costs little beside the products, and
without gradient no more than a block of logits is held.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 512
"""Words of a block with gradient, on a CPU."""

WHOLE = 2048
"""Vocabularies up to this size are one block: there the calls would cost more than the passes over memory."""


def log_probs(h: Tensor, weight: Tensor, words: Tensor) -> Tensor:
    """log softmax(weight h)_word, (rows,), nats, with gradient; ``h`` (rows, units), ``weight`` (V, units).

    On a CPU there is no second derivative where V is greater than ``WHOLE``.
    """
    if h.is_cuda or len(weight) <= WHOLE:
        return -F.cross_entropy(F.linear(h, weight), words, reduction="none")
    return _LogProbs.apply(h, weight, words)


def log_sums(h: Tensor, weight: Tensor, size: int, held: Tensor | None = None) -> Tensor:
    """log-sum-exp of the logits of each block of ``size`` words, (blocks, rows), without gradient.

    ``held`` (rows * V,): takes the log-softmax within each block, (rows, words of the block) one after the other; None:
    every block overwrites the one before.
    """
    rows, sums, at = len(h), [], 0
    room = h.new_empty(rows * size) if held is None else held
    for block in weight.split(size):
        logits = room[at : at + rows * len(block)].view(rows, -1)
        torch.mm(h, block.mT, out=logits)
        # The first logit minus its log-softmax is the log-sum; each row is summed up before it is overwritten.
        first = logits[:, 0].clone()
        torch.log_softmax(logits, 1, out=logits)
        sums.append(first - logits[:, 0])
        at += 0 if held is None else logits.numel()
    return torch.stack(sums)


class _LogProbs(torch.autograd.Function):
    """``log_probs`` by blocks. What is kept for the gradient is one number per logit."""

    @staticmethod
    def forward(ctx, h: Tensor, weight: Tensor, words: Tensor) -> Tensor:
        held = h.new_empty(len(h) * len(weight))
        sums = log_sums(h, weight, BLOCK, held)
        total = torch.logsumexp(sums, 0)
        ctx.save_for_backward(h, weight, words, held, sums - total)
        return (h * weight[words]).sum(1) - total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        h, weight, words, held, shares = ctx.saved_tensors
        rows, at = len(h), 0
        to_h, to_weight = torch.zeros_like(h), torch.empty_like(weight)
        room = h.new_empty(rows * min(BLOCK, len(weight)))
        for block, to_block, share in zip(weight.split(BLOCK), to_weight.split(BLOCK), shares, strict=True):
            within = held[at : at + rows * len(block)].view(rows, -1)
            at += within.numel()
            d = torch.exp(within, out=room[: within.numel()].view(rows, -1)).mul_((share.exp() * -grad).unsqueeze(1))
            to_h.addmm_(d, block)
            torch.mm(d.mT, h, out=to_block)
        to_h.addcmul_(grad.unsqueeze(1), weight[words])
        to_weight.index_add_(0, words, h * grad.unsqueeze(1))
        return to_h, to_weight, None
