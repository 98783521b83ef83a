"""Documents from a text decoder.

Greedy search, beam search, ancestral sampling, and the path between two codes. A function that
writes documents takes a model of ``text_vae`` or ``text_lm``, and codes ``z`` (rows, n), None for
the latter. Documents end with ``</s>`` or are cut off after ``longest`` predicted tokens. No token
is forbidden: a model that gives probability to ``<pad>`` or ``<s>`` may write them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vaebench.data.text.specials import END, START
from vaebench.models.text_lm import TextLM
from vaebench.models.text_vae import TextVAE
from vaebench.nn.lstm import State

TextModel = TextVAE | TextLM
"""Models that write documents word by word."""


@dataclass(frozen=True)
class Document:
    """A document that a model has written.

    Attributes:
        tokens: Its tokens, without ``<s>``, with ``</s>`` if that was reached.
        log_p: Their log-probability given z, nats.
    """

    tokens: tuple[int, ...]
    log_p: float

    @property
    def ended(self) -> bool:
        """Whether the document came to its end before it was cut off."""
        return self.tokens[-1:] == (END,)

    @property
    def words(self) -> tuple[int, ...]:
        """The tokens without ``</s>``."""
        return self.tokens[: len(self.tokens) - self.ended]


def greedy(model: TextModel, z: Tensor | None, longest: int) -> list[Document]:
    """Write a document for every code, taking the most probable word at every step.

    Without codes it is one document.
    """
    return _by_words(
        model, z, 1 if z is None else len(z), longest, lambda t, log_p: log_p.argmax(-1)
    )


def sample(model: TextModel, z: Tensor | None, uniform: Tensor) -> list[Document]:
    """Draw ancestral samples of p(x | z).

    There is one for each row of the noise ``uniform`` (rows, longest) on [0, 1).
    """

    def draw(t: int, log_p: Tensor) -> Tensor:
        # Inverse of the distribution function, relative to its last value, which is 1 except for
        # rounding.
        edges = log_p.double().exp().cumsum(-1)
        word = torch.searchsorted(edges, uniform[:, t, None].double() * edges[:, -1:], right=True)
        return word.squeeze(1).clamp(max=log_p.shape[-1] - 1)

    return _by_words(model, z, len(uniform), uniform.shape[1], draw)


def path(first: Tensor, last: Tensor, points: int) -> Tensor:
    """Return codes at equal distances on the line between two codes (n,), (points, n).

    Both ends are included. Raises ValueError for fewer than two points.
    """
    if points < 2:
        raise ValueError(f"{points} points: a path has at least its two ends")
    share = torch.linspace(0, 1, points, dtype=first.dtype, device=first.device).unsqueeze(1)
    return first + share * (last - first)


@torch.no_grad()
def beam(model: TextModel, z: Tensor | None, width: int, longest: int) -> list[Document]:
    """Find, for every code, the most probable document within a beam of ``width``.

    Without codes it is one document. At every step the ``width`` best continuations of all
    beginnings are kept; those that end leave the beam. A document that has ended is preferred to
    one that was cut off, however improbable. There is no correction for length. Width 1 is
    ``greedy``; a beam so wide that nothing is dropped finds the most probable document of all.
    """
    if width < 1:
        raise ValueError(f"a beam of width {width}: must be at least 1")
    codes = [None] if z is None else list(z.unsqueeze(1))
    return [_beam(model, code, width, longest) for code in codes]


# ------------------------------------------------------------------------------------------- pieces


@torch.no_grad()
def _by_words(
    model: TextModel,
    z: Tensor | None,
    rows: int,
    longest: int,
    choose: Callable[[int, Tensor], Tensor],
) -> list[Document]:
    """Write documents word by word.

    ``choose(t, log_p)`` picks the next word of every row from log-probabilities (rows, V).
    """
    state = model.p.first_state(rows, z)
    word = torch.full((rows,), START, device=model.mean.device)
    unfinished = torch.ones_like(word, dtype=torch.bool)
    written = []
    log_p = model.mean.new_zeros(rows, dtype=torch.float64)

    # A document that has ended goes on beside the others, but its further words add nothing to its
    # log p, and are cut off below.
    for t in range(longest):
        next_log_p, state = model.p.next_word(word, z, state)
        word = choose(t, next_log_p)
        log_p += next_log_p.gather(1, word.unsqueeze(1)).squeeze(1) * unfinished
        written.append(word)

        unfinished = unfinished & (word != END)
        if not unfinished.any():
            break

    tokens = torch.stack(written, 1).tolist() if written else [[] for _ in range(rows)]
    return [Document(_cut(row), p) for row, p in zip(tokens, log_p.tolist(), strict=True)]


def _cut(tokens: list[int]) -> tuple[int, ...]:
    """Return the tokens up to the first ``</s>``, which is kept."""
    return tuple(tokens[: tokens.index(END) + 1] if END in tokens else tokens)


def _beam(model: TextModel, z: Tensor | None, width: int, longest: int) -> Document:
    """Return the document of ``beam`` for one code (1, n)."""
    # The beginnings in the beam, best first: state of the LSTM, last word, log p, tokens so far.
    state: State = model.p.first_state(1, z)
    word = torch.full((1,), START, device=model.mean.device)
    scores = model.mean.new_zeros(1, dtype=torch.float64)
    beginnings: list[tuple[int, ...]] = [()]
    best: Document | None = None

    for _ in range(longest):
        next_log_p, state = model.p.next_word(
            word, None if z is None else z.expand(len(word), -1), state
        )

        # All continuations in one row, (beginnings * V,): place i V + w is beginning i, word w.
        candidates = (scores.unsqueeze(1) + next_log_p).flatten()
        scores, place = candidates.topk(min(width, len(candidates)))
        parent = place // next_log_p.shape[1]
        word = place % next_log_p.shape[1]
        continued = [
            (*beginnings[i], w) for i, w in zip(parent.tolist(), word.tolist(), strict=True)
        ]

        # Continuations come best first, and probabilities only fall. So what is no better than a
        # document that has ended cannot become the best.
        live = 0
        for tokens, log_p in zip(continued, scores.tolist(), strict=True):
            if best and log_p <= best.log_p:
                break
            if tokens[-1] == END:
                best = Document(tokens, log_p)
                break
            live += 1

        if best and not live:
            return best

        beginnings = continued[:live]
        scores = scores[:live]
        word = word[:live]
        parent = parent[:live]
        state = (state[0][parent], state[1][parent])

    return best or Document(beginnings[0], float(scores[0]))
