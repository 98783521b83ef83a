"""DocNADE, a neural autoregressive model of documents (Larochelle & Lauly 2012).

Its likelihood is exact given an order of the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vaebench import kernels
from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.models.base import OrderedModel, Tiny
from vaebench.models.posterior import Noise
from vaebench.nn import counts
from vaebench.nn.batch_norm import Tape
from vaebench.nn.word_tree import PSEUDO, WordTree
from vaebench.protocol.families import FAMILIES
from vaebench.rng import shuffles
from vaebench.rng.noise import Shapes
from vaebench.settings import validate

ACTIVATIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh}

FIXED_SEED = 0
"""Seed of the order in which words are read if there is no noise."""


class DocNADE(OrderedModel):
    """p(v_1, ..., v_L) = prod_i p(v_i | v_1, ..., v_{i-1}), the words of a document in some order.

    h_i = g(c + sum_{j<i} W_{v_j}), and p(v_i | h_i) is given by a binary tree or a softmax. The
    probability is that of the sequence of words, without a multinomial coefficient. The length L is
    given: it has no probability of its own, and an empty document has probability 1.

    Args:
        info: What is known of the data: the vocabulary, and how often its words occur.
        dims: Hidden units, in a list of one number.
        output: ``tree``: a balanced binary tree, see ``nn/word_tree.py``; ``softmax``: over the
            whole vocabulary.
        activation: g, ``sigmoid`` or ``tanh``.

    Raises:
        UserError: For other settings than these.

    Reference:
        Larochelle & Lauly 2012, A Neural Autoregressive Topic Model, equations 5 to 9.
    """

    facts = FAMILIES["doc_nade"]
    tiny: ClassVar[Tiny] = {
        "DocNADE 3": {"dims": [3]},
        "DocNADE 2, softmax": {"dims": [2], "output": "softmax", "activation": "tanh"},
    }
    kernel_layers = True

    WORDS = 20_000
    """Number of words that ``score`` takes at a time."""

    def __init__(
        self,
        info: DataInfo,
        dims: Sequence[int] = (50,),
        output: str = "tree",
        activation: str = "sigmoid",
    ) -> None:
        if len(dims) != 1:
            raise UserError(
                f"model.dims={list(dims)}: allowed: one number of hidden units, such as [50]"
            )

        super().__init__(info)
        units = validate.whole("model.dims", dims[0])
        validate.one_of("model.output", output, ("tree", "softmax"))
        validate.one_of("model.activation", activation, ACTIVATIONS)
        self.activation = activation

        # Shares of the words, at which the output starts; all 0 if there are no words at all.
        rates = info.mean / max(float(info.mean.sum()), 1e-30)
        output_layer = (
            WordTree(rates, units) if output == "tree" else Softmax(torch.from_numpy(rates), units)
        )
        words = nn.ParameterDict(
            {"embedding": torch.zeros(info.size, units), "bias": torch.zeros(units)}
        )
        self.p = nn.ModuleDict({"words": words, "output": output_layer})

    def order_noise(self, batch: int) -> Shapes:
        """Declare the noise of a random order of each document: two uniforms."""
        return {"order": ("uniform", (batch, 2))}

    def words(self, x: Tensor) -> Tensor:
        """Return the number of words of each document, (batch,)."""
        return x.sum(-1)

    def log_evidence(
        self, x: Tensor, drop: Noise | None = None, tape: Tape | None = None
    ) -> Tensor:
        """Return log p of the words of each document in one order, (batch,), nats.

        Args:
            x: Counts, (batch, V).
            drop: Noise of ``order_noise``, which decides the order; None: a fixed order, which
                depends on the document alone.
            tape: Not used.
        """
        word, document = counts.words_of(x)
        fixed_seeds = torch.full((len(x),), FIXED_SEED, device=x.device)
        seed = shuffles.seeds_of(drop["order"]) if drop else fixed_seeds
        # Words only move within their document, so ``document`` remains right.
        return self.log_sequences(word[shuffles.shuffled(document, seed)], document, len(x))

    def log_sequences(self, word: Tensor, document: Tensor, documents: int) -> Tensor:
        """Return log p of sequences of words, (documents,), nats.

        Args:
            word: The words of all documents in a row, (n,), in the order in which they are read.
            document: The document of each word, (n,), ascending.
            documents: Number of documents.
        """
        embedding = self.words_before["embedding"]
        bias = self.words_before["bias"]
        out = self.output

        if isinstance(out, WordTree) and self._by_kernel():
            # Document d has the words first[d] to first[d + 1] - 1, so the end of the last document
            # is needed too.
            first = shuffles.first_of(document, documents + 1)
            arrays = (embedding, bias, out.weight, out.bias, word, first, out.path, out.turn)
            return _Loops.apply(*arrays, self.activation == "tanh")  # type: ignore[no-untyped-call]

        # For each word, sum the embeddings of the words before it in its document: a running sum
        # over all documents, minus its value where the document begins. It is long, hence float64.
        embedded = F.embedding(word, embedding).double()
        before = embedded.cumsum(0) - embedded
        first = shuffles.first_of(document, documents)[document]
        before = before - before[first]

        # h_i = g(c + sum_{j<i} W_{v_j}), one row for each word of all documents: (n, units).
        h = ACTIVATIONS[self.activation](before.to(self.mean.dtype) + bias)
        log_p = out.log_prob(h, word)
        return log_p.new_zeros(documents).index_add(0, document, log_p)

    def _by_kernel(self) -> bool:
        return kernels.allowed() and all(kernels.plain(v) for v in self.parameters())

    @property
    def words_before(self) -> nn.ParameterDict:
        """The weights ``embedding`` (V, units), W, and the hidden ``bias`` (units,), c."""
        part = self.p["words"]
        assert isinstance(part, nn.ParameterDict)
        return part

    @property
    def output(self) -> WordTree | Softmax:
        """The layer that gives log p(word | hidden units)."""
        part = self.p["output"]
        assert isinstance(part, (WordTree, Softmax))
        return part

    @torch.no_grad()
    def score(self, x: Tensor, order: Noise | None = None) -> Tensor:
        """Return ``log_evidence`` of any number of documents, (n,).

        No gradient passes, and memory is bounded.
        """
        log_p = []
        first = 0
        for part in counts.parts(x, self.WORDS):
            rows = slice(first, first + len(part))
            # The noise of an order goes with its document, however the documents are split.
            part_order = None if order is None else {name: v[rows] for name, v in order.items()}
            log_p.append(self.log_evidence(part.to(self.mean.dtype), part_order))
            first += len(part)
        return torch.cat(log_p)


class _Loops(torch.autograd.Function):
    """log p of sequences by kernels, (sequences,).

    The inputs, in this order: embedding (V, units) and bias (units,) of the hidden units, weight
    and bias of the tree, the words (n,), where each sequence begins (sequences + 1,), the tree's
    paths and turns, and whether g is tanh.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        from vaebench.kernels import doc_nade

        *tensors, tanh = inputs
        ctx.save_for_backward(*tensors)
        ctx.tanh = tanh
        embedding, hidden, weight, bias, word, first, path, turn = tensors
        log_p = embedding.new_empty(len(first) - 1)
        arrays = [
            v.detach().numpy() for v in (word, first, embedding, hidden, weight, bias, path, turn)
        ]

        # The array shares memory with the tensor, which the kernel fills.
        doc_nade.log_probabilities(*arrays, tanh, log_p.numpy())
        return log_p

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        from vaebench.kernels import doc_nade

        embedding, hidden, weight, bias, word, first, path, turn = ctx.saved_tensors
        arrays = [
            v.detach().numpy() for v in (word, first, embedding, hidden, weight, bias, path, turn)
        ]

        # The kernel adds to them, hence zeros.
        gradients = [torch.zeros_like(v) for v in (embedding, hidden, weight, bias)]
        doc_nade.derivatives(
            *arrays, ctx.tanh, slopes[0].contiguous().numpy(), *(v.numpy() for v in gradients)
        )
        # Words, beginnings, paths, turns and ``tanh`` have no gradient.
        return (*gradients, None, None, None, None, None)


class Softmax(nn.Module):
    """log p(word | h) = log softmax(V h + b).

    The biases start at the logarithms of the base ``rates`` (V,).
    """

    start_bias: Tensor

    def __init__(self, rates: Tensor, units: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(len(rates), units))
        self.bias = nn.Parameter(torch.zeros(len(rates)))
        self.register_buffer("start_bias", torch.log(rates + PSEUDO), persistent=False)

    def start(self, generator: torch.Generator) -> None:
        """Set the biases to the logarithms of the base rates; the generator is not used."""
        self.bias.copy_(self.start_bias)

    def log_prob(self, h: Tensor, words: Tensor) -> Tensor:
        """Return log p(word | h), (n,), nats, of ``words`` (n,) given units ``h`` (n, units)."""
        return -F.cross_entropy(F.linear(h, self.weight, self.bias), words, reduction="none")
