"""LSTM language model, with or without a code z.

p(w_1 ... w_n </s> | z), the decoder of He et al. 2019. The code sets the initial state, c_0 = W z
and h_0 = tanh(c_0), and is appended to the word at the input of every step (section 5.1 of the
paper and its appendix B). Projections have no bias.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.data.text.specials import PAD
from vaebench.models.tokens import Documents
from vaebench.nn.lstm import LSTM, State
from vaebench.nn.precision import is_half, products_in
from vaebench.nn.word_softmax import log_probs, log_sums
from vaebench.rng.noise import Shapes
from vaebench.settings import validate
from vaebench.work.steps import Box, steps, tick

Drop = dict[str, Tensor]

ROWS = {"cpu": 512, "cuda": 1 << 14}
"""Number of sequences that advance together without gradient, roughly. With fewer the weights would
be fetched too often.
"""

LOGITS = {"cpu": 1 << 18, "cuda": 1 << 28}
"""Upper limit on the logits held at once without gradient, in floats. On a CPU they are so few that
they stay in the caches.
"""

INPUTS = {"cpu": 1 << 25, "cuda": 1 << 28}
"""Upper limit on the input gates of all steps of a group of documents, in floats."""


class TextDecoder(nn.Module):
    """From words and a code of size ``latents`` (0: none) to the next word.

    If ``frozen_last_row`` is set, the row of the embedding of the vocabulary's last word has no
    gradient and stays as it was initialised. The authors' code does this, since it declares that
    word to be padding.
    """

    def __init__(
        self,
        vocabulary: int,
        latents: int,
        embedding: int,
        units: int,
        dropout_in: float,
        dropout_out: float,
        frozen_last_row: bool,
    ) -> None:
        super().__init__()
        for key, value in (("embedding", embedding), ("units", units)):
            validate.whole(f"model.{key}", value)
        for key, rate in (("dropout_in", dropout_in), ("dropout_out", dropout_out)):
            validate.below_one(f"model.{key}", rate)
        validate.flag("model.frozen_last_row", frozen_last_row)

        # Name of a noise -> the dropout rate, and on how many numbers of a step it acts.
        self.rates = {
            "drop_in": (float(dropout_in), embedding),
            "drop_out": (float(dropout_out), units),
        }

        self.frozen = vocabulary - 1 if frozen_last_row else None
        self.embedding = nn.Parameter(torch.zeros(vocabulary, embedding))
        self.lstm = LSTM(embedding + latents, units)
        self.initial = nn.Parameter(torch.zeros(units, latents)) if latents else None
        self.output = nn.Parameter(torch.zeros(vocabulary, units))

    def dropout_noise(self, batch: int, width: int) -> Shapes:
        """Declare the noise of ``drop`` for documents of up to ``width`` tokens.

        Uniforms for each dropout rate that is not 0.
        """
        return {
            k: ("uniform", (batch, width - 1, n)) for k, (rate, n) in self.rates.items() if rate
        }

    def first_state(self, rows: int, z: Tensor | None) -> State:
        """Return the state before the first word, each (rows, units), for codes ``z`` (rows, n)."""
        if z is None or self.initial is None:
            # A copy, since ``LSTM.step_`` changes both parts of a state in place.
            zeros = self.embedding.new_zeros(rows, self.lstm.units)
            return zeros, zeros.clone()

        c = F.linear(z, self.initial)
        return torch.tanh(c), c

    def logits(self, words: Tensor, z: Tensor | None) -> Tensor:
        """Return the logits of every next word, (batch, width - 1, V).

        Args:
            words: Token numbers, (batch, width), of any width; the last is only predicted.
            z: A code for each document, (batch, n); None: no codes.
        """
        # Inputs of the LSTM, time first: (width - 1, batch, embedding [+ n]).
        x = F.embedding(words[:, :-1].t(), self.embedding)
        if z is not None:
            x = torch.cat([x, z.expand(len(x), -1, -1)], -1)

        h, _ = self.lstm(x, self.first_state(words.shape[0], z))
        return F.linear(h, self.output).transpose(0, 1)

    def log_likelihood(
        self, documents: Documents, z: Tensor | None, drop: Drop | None = None
    ) -> Tensor:
        """Return log p(document | z), (k, batch), nats, summed over words and ``</s>``.

        Under autocast only the products of the softmax, which are most of the work, are in
        bfloat16.

        Args:
            documents: The documents.
            z: Codes (k, batch, n); None: no codes, and k = 1.
            drop: Uniforms as ``dropout_noise`` declares them, or for more steps; None: no dropout.
                A unit is kept if its uniform reaches the rate, and is scaled by 1 / (1 - rate). All
                samples of a document share its mask.
        """
        device = documents.tokens.device
        # Ask before autocast is switched off: the softmax casts its products itself.
        half = is_half(device)
        with products_in("float32", device):
            return self._log_likelihood(documents, z, drop, half)

    def _log_likelihood(
        self, documents: Documents, z: Tensor | None, drop: Drop | None, half: bool
    ) -> Tensor:
        # Time comes first, as in the LSTM. Its batch axis holds the k samples one after the other,
        # each with all documents: sequence s * batch + b is sample s of document b.
        tokens = documents.tokens.t()
        length = documents.steps
        k, batch = (1, tokens.shape[1]) if z is None else z.shape[:2]

        # Words (length, batch, embedding), in which ``padding_idx`` stops the frozen row's
        # gradient. Dropout comes before the samples are laid out, since they share one mask, and
        # before the code is appended, since that is never dropped.
        x = F.embedding(tokens[:-1], self.embedding, padding_idx=self.frozen)
        x = self._dropped("drop_in", x, drop)
        if z is not None:
            if k > 1:
                x = x.unsqueeze(1).expand(-1, k, -1, -1).flatten(1, 2)
            x = torch.cat([x, z.reshape(1, k * batch, -1).expand(length, -1, -1)], -1)

        h, _ = self.lstm(
            x, self.first_state(batch, None if z is None else z.reshape(k * batch, -1))
        )
        h = self._dropped("drop_out", h.unflatten(1, (k, batch)), drop).reshape(-1, self.lstm.units)

        # The rows of h and the targets are in the order (step, sample, document). The softmax is
        # most of the work, so rows that would predict padding are left out; their terms stay 0.
        targets = tokens[1:].unsqueeze(1).expand(-1, k, -1).reshape(-1)
        if documents.even:
            terms = log_probs(h, self.output, targets, half)
        else:
            real = (targets != PAD).nonzero().squeeze(1)
            real_terms = log_probs(
                h.index_select(0, real), self.output, targets.index_select(0, real), half
            )
            terms = real_terms.new_zeros(len(targets)).index_put((real,), real_terms)

        return terms.view(length, k, batch).sum(0)

    def _dropped(self, name: str, v: Tensor, drop: Drop | None) -> Tensor:
        """Return ``v`` (steps, [k,] batch, n) without the units that are dropped.

        These are the units whose noise (batch, steps or more, n) is below the rate.
        """
        rate, _ = self.rates[name]
        if drop is None or not rate:
            return v

        # The mask is (steps, batch, n). If ``v`` has an axis of samples, they all share it.
        mask = (drop[name][:, : len(v)].transpose(0, 1) >= rate).to(v.dtype).mul_(1 / (1 - rate))
        return v * (mask if v.dim() == 3 else mask.unsqueeze(1))

    # ----------------------------------------------------------------------------- without gradient

    @torch.no_grad()
    def score(self, documents: Documents, z: Tensor | None) -> Tensor:
        """Return ``log_likelihood`` without gradient and without dropout, (k, batch), nats.

        Groups of documents of similar lengths are scored together, and groups of samples if one
        document has many. What the samples of a document have in common is computed once. Memory is
        bounded for any k and batch.
        """
        kind = "cuda" if documents.tokens.is_cuda else "cpu"
        k = 1 if z is None else len(z)
        batch = len(documents.lengths)
        rows = ROWS[kind]
        # Number of documents whose input gates, 4 units at every step, fit into memory.
        fitting = INPUTS[kind] // (4 * self.lstm.units * max(1, documents.steps))

        # Groups of documents, the longest first, and within a group its samples in parts.
        lengths, order = torch.sort(documents.lengths, descending=True, stable=True)
        group_size = max(1, min(rows // k, fitting))
        groups = zip(order.split(group_size), lengths.split(group_size), strict=True)
        parts = [(*group, first) for group in groups for first in range(0, k, rows)]

        scored = Box(out=self.output.new_empty(k, batch))
        prepared = None
        for number in steps("documents", len(parts), scored):
            chosen, chosen_lengths, first = parts[number]
            # The words' part of the gates is the same for all samples, so a group computes it once,
            # at its first part or at the part with which a stopped evaluation goes on.
            if chosen is not prepared:
                counts = (chosen_lengths - 1).tolist()
                tokens = documents.tokens[chosen, : counts[0] + 1].t()
                # (steps, group, 4 units)
                inputs = self.lstm.input_gates(F.embedding(tokens[:-1], self.embedding))
                prepared = chosen

            # (group, samples, n), documents first, as ``_score_group`` takes them.
            codes = None if z is None else z[first : first + rows, chosen].transpose(0, 1)
            scored.out[first : first + rows, chosen] = self._score_group(
                tokens[1:], inputs, counts, codes
            ).t()

        return scored.out

    def _score_group(
        self, targets: Tensor, inputs: Tensor, counts: list[int], z: Tensor | None
    ) -> Tensor:
        """Return log p of documents given each of their samples, (documents, k), nats.

        The longest document comes first. Only the recurrent product and the softmax are computed
        step by step; documents that have ended drop out of both.

        Args:
            targets: The words to predict, (steps, documents).
            inputs: The words' part of the gates, (steps, documents, 4 units).
            counts: Number of steps of every document, descending.
            z: Codes (documents, k, n); None: no codes, and k = 1.
        """
        n = len(counts)
        k = 1 if z is None else z.shape[1]
        flat = None if z is None else z.reshape(n * k, -1)
        h, c = (v.view(n, k, -1) for v in self.first_state(n * k, flat))

        # The code's part of the gates, (n, k, 4 units), is the same at every step. The bias is in
        # the words' part already.
        code_gates = None
        if flat is not None:
            code_gates = self.lstm.input_gates(flat, self.embedding.shape[1], bias=False).view(
                n, k, -1
            )

        gates = inputs.new_empty(n, k, inputs.shape[-1])
        total = inputs.new_zeros(n, k)
        live = n
        for t in range(counts[0]):
            tick()
            # Documents are sorted by length, so those that have not ended are the first ``live``.
            while counts[live - 1] <= t:
                live -= 1

            if code_gates is None:
                gates[:live] = inputs[t, :live, None]
            else:
                torch.add(code_gates[:live], inputs[t, :live, None], out=gates[:live])

            # The views share memory with h and c, which the step changes in place.
            self.lstm.step_(*(v[:live].view(live * k, -1) for v in (gates, h, c)))
            total[:live] += self._log_probs_of(targets[t, :live], h[:live])

        return total

    def _log_probs_of(self, words: Tensor, h: Tensor) -> Tensor:
        """Return log p of one word for each document given states, (n, k), nats.

        ``words`` is (n,), the states ``h`` are (n, k, units).
        """
        rows = h.flatten(0, 1)
        kind = "cuda" if h.is_cuda else "cpu"
        # log p = logit of the word - log-sum-exp over the vocabulary. The latter is taken block by
        # block, (blocks, n k), so that all logits are never in memory at once.
        sums = log_sums(rows, self.output, max(1, min(len(self.output), LOGITS[kind] // len(rows))))
        word_logits = torch.bmm(h, self.output[words].unsqueeze(2)).squeeze(2)
        return word_logits - torch.logsumexp(sums, 0).view_as(word_logits)

    @torch.no_grad()
    def next_word(self, tokens: Tensor, z: Tensor | None, state: State) -> tuple[Tensor, State]:
        """Return log p of every word that may follow, (rows, V), nats, and the new state.

        ``tokens`` (rows,) are the last words so far.
        """
        # ``step_`` works in place, and the caller keeps its state.
        h, c = (v.clone() for v in state)
        gates = self.lstm.input_gates(F.embedding(tokens, self.embedding))
        if z is not None:
            gates += self.lstm.input_gates(z, self.embedding.shape[1], bias=False)

        self.lstm.step_(gates, h, c)
        return F.linear(h, self.output).log_softmax(-1), (h, c)
