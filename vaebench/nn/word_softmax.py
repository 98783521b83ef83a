"""Softmaxes over a large vocabulary with linear logits: log softmax(W h) of one word for each row.

With gradient, probabilities take the place of the logits in memory. So the backward pass computes
no exponentials, and there is only one array of that size. It is worked through in blocks that fit
the processor's cache; their sizes are equal, so they can reuse each other's memory. Without
gradient only one block of logits is in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from vaebench.nn import second_order
from vaebench.nn.products import product

ROWS = 512
WORDS = 2048
"""Rows and words of a block with gradient, on a CPU."""

FULL = 16
"""Rows are filled up to a multiple of this, since the library keeps a program for every size of a
product."""

SMALL = 512
"""Vocabularies up to this size are left to PyTorch's own cross-entropy."""


def log_probs(h: Tensor, weight: Tensor, words: Tensor, half: bool = False) -> Tensor:
    """Return log softmax(weight h)_word, (rows,), in nats, with gradient.

    On a CPU there is no second derivative if V is greater than ``SMALL``, unless one is wanted
    (``second_order``).

    Args:
        h: Hidden units, (rows, units).
        weight: (V, units).
        words: Number of the word of each row, (rows,).
        half: Whether the products are bfloat16; softmaxes, their logarithms and sums remain
            float32.
    """
    if h.is_cuda or len(weight) <= SMALL or second_order.is_wanted():
        logits = (
            F.linear(h.bfloat16(), weight.bfloat16()).to(h.dtype) if half else F.linear(h, weight)
        )
        return -F.cross_entropy(logits, words, reduction="none")

    # Fill up with rows of zeros and word 0, and drop their results.
    more = -len(h) % FULL
    apply: Callable[..., Tensor] = _LogProbs.apply
    return apply(F.pad(h, (0, 0, 0, more)), weight, F.pad(words, (0, more)), half)[: len(h)]


def log_sums(h: Tensor, weight: Tensor, size: int) -> Tensor:
    """Return the log-sum-exp of the logits of each block of words, (blocks, rows), no gradient.

    Args:
        h: Hidden units, (rows, units).
        weight: (V, units).
        size: Words of a block.
    """
    return torch.stack([_softmax_(product(h, block)) for block in weight.split(size)])


def _softmax_(logits: Tensor) -> Tensor:
    """Replace ``logits`` (rows, words) by their softmax in place, and return log-sum-exp, (rows,).

    It is the largest logit minus the log of its probability, which is at least 1 / words. PyTorch's
    logsumexp takes several times as long as its softmax on a CPU.
    """
    largest = logits.amax(1)
    torch.softmax(logits, 1, out=logits)
    return largest - logits.amax(1).log_()


class _LogProbs(torch.autograd.Function):
    """``log_probs`` by blocks, which keeps one number per logit for the gradient."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, words: Tensor, half: bool) -> Tensor:
        # Blocks of logits, (ROWS, WORDS) at most: a list over rows of lists over words.
        left, right = (h.bfloat16(), weight.bfloat16()) if half else (h, weight)
        within = [
            [product(part, block).to(h.dtype) for block in right.split(WORDS)]
            for part in left.split(ROWS)
        ]

        # _softmax_ turns each block into the probabilities of its words, given that the word is one
        # of the block's. ``sums`` are the log-sum-exps, (word blocks, rows), ``total`` is that over
        # all words, (rows,). So sums - total are the logs of the blocks' shares.
        sums = torch.cat([torch.stack([_softmax_(logits) for logits in row]) for row in within], 1)
        total = torch.logsumexp(sums, 0)

        ctx.half = half
        ctx.save_for_backward(h, weight, words, sums - total, *(p for row in within for p in row))
        # If logits are in the thousands, rounding can make the difference positive.
        return ((h * weight[words]).sum(1) - total).clamp_(max=0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        h, weight, words, shares, *within = ctx.saved_tensors
        to_h = torch.zeros_like(h)
        to_weight = torch.zeros_like(weight)

        # The gradient of logit j is grad (1[j = word] - p_j), where p_j is the probability within a
        # block times the block's share: ``factors`` are -grad times the shares.
        dtype = torch.bfloat16 if ctx.half else h.dtype
        blocks = list(zip(weight.to(dtype).split(WORDS), to_weight.split(WORDS), strict=True))
        factors = (shares.exp() * -grad).split(ROWS, 1)
        remaining = iter(within)

        # Pieces of all arrays by rows. ``to_part`` and ``to_block`` are views of the results, to
        # which every block adds its part.
        rows = zip(
            h.split(ROWS),
            to_h.split(ROWS),
            factors,
            words.split(ROWS),
            grad.split(ROWS),
            strict=True,
        )
        for part, to_part, row, part_words, part_grad in rows:
            units = part.to(dtype).mT.contiguous()
            for number, ((block, to_block), factor) in enumerate(zip(blocks, row, strict=True)):
                to_logits = next(remaining) * factor.unsqueeze(1)
                if ctx.half:
                    # Add the word's own 1 before rounding, so that 1 - p keeps its digits if p is
                    # close to 1. ``hits`` are the rows whose word is in this block.
                    hits = (part_words // WORDS == number).nonzero().squeeze(1)
                    to_logits[hits, part_words[hits] - number * WORDS] += part_grad[hits]
                    to_logits = to_logits.to(dtype)

                to_part += product(to_logits, block.mT)
                to_block += product(units, to_logits.mT).mT

        # In float32 the 1 of each word is added here at once, without a look at the blocks.
        if not ctx.half:
            to_h.addcmul_(grad.unsqueeze(1), weight[words])
            to_weight.index_add_(0, words, h * grad.unsqueeze(1))
        return to_h, to_weight, None, None
