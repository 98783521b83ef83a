"""How an update is computed: seeds packed together, and the engines that train them.

CUDA graphs are in ``graphs``; ``nn.products`` chooses the library of matrix products.

A ``Pack`` trains R seeds of one cell at once; every tensor it holds has a leading axis of R. Four
engines compute the same numbers up to rounding:

- ``plain``: autograd, one seed after the other. It is the reference, and the fastest on a CPU
  without compiler and kernels.
- ``packed``: torch.func.vmap of the gradient over the seeds; the compiled engine compiles this.
- ``compiled``: the packed step through torch.compile.
- ``kernel``: loops of our own on a CPU, see vaebench.kernels. They make the whole update of a
  belief net. For a Boltzmann prior they run the chains, for a Boltzmann posterior they compute its
  couplings, and in networks of images the normalised layers; the plain engine does the rest.

On a GPU the packed or compiled step is captured whole in a CUDA graph, with data and noise on the
device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from vaebench import kernels
from vaebench.data.examples import prepare
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.nn.lending import lent, places_of
from vaebench.nn.precision import products_in
from vaebench.objectives import decay
from vaebench.objectives.base import Batch, Objective, State
from vaebench.optim import Optimiser
from vaebench.rng.noise import Shapes
from vaebench.training.choice import ENGINES, only_plain
from vaebench.training.graphs import Captured
from vaebench.training.programs import Programs

log = logging.getLogger(__name__)


def check_precision(objective: Objective, precision: str) -> None:
    """Refuse a ``train.precision`` that would change nothing, or spoil the gradient.

    Raises:
        UserError: If it is not float32, and the model or the objective does not allow that.
    """
    if precision == "float32":
        return

    if "train" not in objective.model.facts.half:
        raise UserError(
            f"train.precision={precision}: for models of images and of documents only; "
            "allowed here: float32"
        )

    if objective.no_half:
        raise UserError(f"train.precision={precision}: {objective.no_half}; allowed here: float32")


class Pack:
    """R seeds of an objective, trained at once.

    The engine must be ``plain`` for documents, whose batches may differ in size, and for objectives
    that are ``alone`` or ``plain_only``. Kernels of layers are allowed as well.

    Args:
        objective: Gives structure and buffers; its own parameter values are not used.
        optim: The optimiser.
        params: Name -> parameter, for every seed; the pack keeps them stacked, (R, ...).
        state: State of the objective, likewise.
        opt: State of the optimiser, likewise.
        data: Training examples, (n, d).
        kind: Kind of the examples.
        engine: One of ENGINES.
        updates: The budget; a step is told which share of it was used.
        precision: ``float32``, or ``bfloat16`` for models that take it.

    Raises:
        ValueError: For an engine that does not exist, or cannot train this.
        UserError: For a precision that the model does not take.
    """

    def __init__(
        self,
        objective: Objective,
        optim: Optimiser,
        params: list[dict[str, Tensor]],
        state: list[dict[str, Tensor]],
        opt: list[dict[str, Tensor]],
        data: Tensor,
        kind: Kind = Kind.BITS,
        engine: str = "plain",
        updates: int = 1,
        precision: str = "float32",
    ) -> None:
        if engine not in ENGINES:
            raise ValueError(f"engine {engine!r} is not one of {ENGINES}")

        by_layers = engine == "kernel" and objective.model.kernel_layers
        if engine != "plain" and only_plain(objective, kind) and not by_layers:
            raise ValueError(f"engine {engine!r} cannot run this rule on these data: plain can")

        self.objective = objective
        self.optim = optim
        self.data = data
        self.kind = kind
        self.precision = precision
        check_precision(objective, precision)

        self.params = _stack(params)
        self.state = _stack(state)
        self.opt = _stack(opt)
        self.group_of = group_of(objective)
        self.updates = updates
        self.size = len(params)
        self.engine = engine

        # Kernels of layers or chains are called within a plain step, which trains one seed after
        # the other by autograd. All other steps take the seeds together.
        seed_by_seed = (
            engine == "plain" or by_layers or (engine == "kernel" and objective.kernel == "chains")
        )
        self._places = places_of(objective) if seed_by_seed else {}
        self._decay = decay.strengths(objective) if seed_by_seed else {}

        # The kernel engine keeps the parameters in a memory layout of its own. The pack holds views
        # of it, so both read and write the same numbers. Autoregressive weights are the exception:
        # they are copied there and back whenever the engine makes updates.
        self._kernel = None
        if engine == "kernel" and not seed_by_seed:
            from vaebench.training.kernel_engine import Engine

            self._kernel = Engine(objective, optim, self.params, data, kind)
            self.params = self._kernel.params

        step = self._plain if seed_by_seed else self._packed
        if engine == "compiled":
            step = _compiled(step, data.device)
        self._step: Callable[..., dict[str, Tensor]] = step
        self._graph: Captured | None = None

    def draws(self, batch: int) -> Shapes:
        """Return the noise of one update of ``batch`` examples: name -> (kind, shape)."""
        shapes = self.objective.draws(batch, self.data.shape[1])
        if self.engine != "kernel":
            return shapes

        # Kernels take the same numbers as two tensors of digits, which saves memory traffic.
        return {
            name: (
                "digits" if kind == "dithered" and name in self.objective.chain_noise else kind,
                shape,
            )
            for name, (kind, shape) in shapes.items()
        }

    def advance(
        self,
        index: Tensor,
        noise: dict[str, Tensor],
        binarize: Tensor | None,
        first: int = 0,
        only: tuple[str, ...] | None = None,
    ) -> dict[str, Tensor]:
        """Make T updates.

        Args:
            index: Row numbers of the training examples, (T, R, batch). Rows may end in -1 if a
                batch has fewer documents.
            noise: Name -> (T, R, ...).
            binarize: Noise that makes grey examples binary, (T, R, batch, d); None for others.
            first: Number of updates done before.
            only: The parameter groups that move (plain engine); None: all.

        Returns:
            Metrics (R,), summed over the updates.
        """
        if self._kernel:
            return self._kernel.advance(index, noise, binarize, self.state)

        # The numbers of the updates, (T,). They are a tensor because a captured graph, which is
        # replayed without Python, reads tensors only.
        clock = torch.arange(first, first + index.shape[0], device=index.device)
        if self.data.is_cuda and self.engine != "plain":
            if self._graph is None or not self._graph.fits(index, noise):
                # The capture runs the step, and then restores these.
                live = [self.params, self.state, self.opt]
                self._graph = Captured(self._step, index, noise, binarize, clock, live)
            return self._graph.replay(index, noise, binarize, clock)

        total: dict[str, Tensor] = {}
        for t in range(index.shape[0]):
            noise_now = {name: value[t] for name, value in noise.items()}
            grey = None if binarize is None else binarize[t]
            # Only the plain step knows ``only``.
            moving = {} if only is None else {"only": only}
            metrics = self._step(index[t], noise_now, grey, clock[t], **moving)

            # Sums of many updates are kept in double precision.
            for name, value in metrics.items():
                total[name] = value.double() if name not in total else total[name] + value
        return total

    def seed_state(self, r: int) -> dict[str, Tensor]:
        """Return the state of the r-th seed itself, not a copy."""
        return {k: v[r] for k, v in self.state.items()}

    def put(
        self, r: int, params: dict[str, Tensor], state: dict[str, Tensor], opt: dict[str, Tensor]
    ) -> None:
        """Set the given values of the r-th seed, by name; all others stay."""
        for stacked, given in ((self.params, params), (self.state, state), (self.opt, opt)):
            for name, value in given.items():
                stacked[name][r].copy_(value)

    def seed(self, r: int) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Return copies of the parameters, state and optimiser state of the r-th seed."""
        params, state, opt = (
            {name: value[r].clone() for name, value in stacked.items()}
            for stacked in (self.params, self.state, self.opt)
        )
        return params, state, opt

    def _batch(self, index: Tensor, binarize: Tensor | None, clock: Tensor) -> Batch:
        """Return the batches of all seeds, each field (seeds, ...)."""
        x = prepare(self.kind, self.data[index], binarize)
        return Batch(x, index, *self._clocks(index.shape[-1], clock))

    def _clocks(self, batch: int, clock: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return how far training is: updates done, share of the budget, passes over the data.

        Each has the shape (seeds,). The passes include the update that is being made.
        """
        update = clock.expand(self.size)
        passes = (update + 1).to(torch.float32) * (batch / len(self.data))
        return update, update.to(torch.float32) / self.updates, passes

    def _documents(self, index: Tensor, clock: Tensor) -> list[Batch]:
        """Return the batch of each seed if the examples are documents.

        They are apart, since batches of documents may differ in size.
        """
        batches = []
        clocks = self._clocks(index.shape[-1], clock)
        for r in range(self.size):
            rows = index[r][index[r] >= 0]  # -1 fills up the row of a smaller batch
            batches.append(
                Batch(prepare(self.kind, self.data[rows]), rows, *(v[r] for v in clocks))
            )
        return batches

    def _seen(self, index: Tensor) -> dict[str, Tensor]:
        """Return the state for one step: per-example entries are reduced to the batch's rows."""
        per_example = self.objective.per_case
        return {
            k: v[self._seeds(index), index] if k in per_example else v
            for k, v in self.state.items()
        }

    @staticmethod
    def _seeds(index: Tensor) -> Tensor:
        """Return the numbers of the seeds, (R, 1), which index together with rows (R, batch)."""
        return torch.arange(index.shape[0], device=index.device).unsqueeze(1)

    def _loss(
        self, params: State, state: State, batch: Batch, noise: State
    ) -> tuple[Tensor, tuple[State, State]]:
        loss, new_state, metrics = functional_call(self.objective, params, (state, batch, noise))
        return loss, (new_state, metrics)

    def _packed(
        self, index: Tensor, noise: dict[str, Tensor], binarize: Tensor | None, clock: Tensor
    ) -> dict[str, Tensor]:
        batch = self._batch(index, binarize, clock)

        # One backward pass for all seeds: every argument has a leading axis of R, which vmap hides
        # from the objective.
        step = vmap(grad(self._loss, has_aux=True))
        grads, (state, metrics) = step(self.params, self._seen(index), batch, noise)
        self._apply(grads, state, index, clock)
        return metrics

    def _plain(
        self,
        index: Tensor,
        noise: dict[str, Tensor],
        binarize: Tensor | None,
        clock: Tensor,
        only: tuple[str, ...] | None = None,
    ) -> dict[str, Tensor]:
        if self.kind is Kind.TOKENS:
            batches = self._documents(index, clock)
        else:
            # No field is None here; the check is for the types.
            batch = self._batch(index, binarize, clock)
            batches = [
                Batch._make(value[r] for value in batch if value is not None)
                for r in range(self.size)
            ]

        seen = self._seen(index)
        grads = []
        states = []
        metrics = []

        for r in range(self.size):
            # New leaves of autograd in the places of the objective's own parameters. They share the
            # pack's memory, and the update is made in place afterwards.
            params = {k: value.requires_grad_() for k, value in _at(self.params, r).items()}
            with (
                lent(self._places, params),
                kernels.use(self.engine == "kernel"),
                decay.apart(bool(self._decay)),
                products_in(self.precision, self.data.device),
            ):
                loss, state, metrics_of_seed = self.objective(
                    _at(seen, r), batches[r], _at(noise, r)
                )

            grads_of_seed = torch.autograd.grad(loss, list(params.values()))
            grads.append(dict(zip(params, grads_of_seed, strict=True)))
            states.append(state)
            metrics.append(metrics_of_seed)

        self._apply(_beside(grads), _beside(states), index, clock, only)
        return _beside(metrics)

    def _apply(
        self,
        grads: dict[str, Tensor],
        state: dict[str, Tensor],
        index: Tensor,
        clock: Tensor,
        only: tuple[str, ...] | None = None,
    ) -> None:
        # The penalty's gradient is added by the optimiser, in one pass over the parameters (plain
        # steps only: for others ``_decay`` is empty, and the penalty is a part of the loss).
        _, progress, _ = self._clocks(index.shape[-1], clock)
        self.optim.apply_(self.params, grads, self.opt, self.group_of, progress, only, self._decay)

        # A step returned per-example state for its batch only: write it back to these rows.
        for name, value in state.items():
            if name in self.objective.per_case:
                self.state[name][self._seeds(index), index] = value.detach()
            else:
                self.state[name].copy_(value.detach())


def _compiled(
    step: Callable[..., dict[str, Tensor]], device: torch.device
) -> Callable[..., dict[str, Tensor]]:
    """Compile a step. On a GPU it is then captured in a CUDA graph (see ``graphs``)."""
    if device.type != "cpu":
        # Packs of another size or batch get a program of their own, since guards on sizes are
        # cheaper than general code. The programs of earlier packs are dropped, or a process that
        # trains many cells would run into the compiler's limit.
        torch.compiler.reset()
        return torch.compile(step, dynamic=False, fullgraph=True)

    from vaebench.nn import compiled_products  # slow to import: it loads the compiler

    return Programs(step, compiled_products.options())


def group_of(objective: Objective) -> dict[str, str]:
    """Return the group of every parameter by the parameter's name.

    Raises:
        ValueError: For a parameter that belongs to no group, or to several.
    """
    groups_by_name = {}
    for name, _ in objective.named_parameters():
        groups = [g for g, prefix in objective.groups().items() if name.startswith(prefix)]
        if len(groups) != 1:
            raise ValueError(
                f"parameter {name} belongs to {len(groups)} groups of {type(objective).__name__}"
            )

        groups_by_name[name] = groups[0]
    return groups_by_name


def _at(part: dict[str, Tensor], r: int) -> dict[str, Tensor]:
    return {k: v[r] for k, v in part.items()}


def _stack(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {k: torch.stack([p[k].detach() for p in parts]) for k in parts[0]}


def _beside(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Stack as ``_stack`` does, but do not copy if there is a single seed."""
    return (
        {k: v.detach().unsqueeze(0) for k, v in parts[0].items()}
        if len(parts) == 1
        else _stack(parts)
    )
