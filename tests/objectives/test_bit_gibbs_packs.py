"""Chains of bit_gibbs in packs: each follows its image, and every engine gives the same."""

from __future__ import annotations

import pytest
import torch
from kit.bit_gibbs import BITS, EVERY, VISIBLE, norms_of, rule_of

from vaebench import models, objectives, optim
from vaebench.data.info import DataInfo
from vaebench.rng import noise
from vaebench.training import choice
from vaebench.training import engines as fast


def pack_of(rule, data, seeds, engine, rate):
    descent = optim.build({"name": "sgd", "rate": rate})
    params = []
    for s in seeds:
        start = rule_of(len(norms_of(rule)), seed=20 + s, scale=0.5).float()
        params.append({k: v.detach().clone() for k, v in start.named_parameters()})

    states = [rule.state(s, len(data)) for s in seeds]
    return fast.Pack(
        rule, descent, params, states, [descent.state(p) for p in params], data, engine=engine
    )


def advance(pack, batch, seeds, rows):
    order = noise.order_block(len(pack.data), batch, "shuffle", seeds, 0, rows.stop)
    draws = noise.update_block(
        pack.objective.noise(batch), seeds, 0, torch.device("cpu"), rows.stop
    )
    return order, pack.advance(order[rows], {k: v[rows] for k, v in draws.items()}, None)


@pytest.mark.parametrize("engine", ["plain", "packed"])
def test_chains_follow_their_images(engine):
    """Every pixel is a copy of a bit: one sweep tells an image by its chain, in
    whatever order images come."""
    rule = objectives.build(
        {"name": "bit_gibbs", "sweeps": 1},
        models.build(
            {"name": "rbm_generator", "latents": BITS, "layers": 0}, DataInfo([0.5] * BITS)
        ),
    )
    data = EVERY.to(torch.uint8)[torch.randperm(16, generator=torch.Generator().manual_seed(2))]
    descent = optim.build({"name": "sgd", "rate": 1e-9})

    # Weights of 80 and biases of -40: pixel i is on exactly if bit i is, all else is impossible.
    params = {k: torch.zeros_like(v) for k, v in rule.named_parameters()}
    params["model.p.decoder.output.weight"] = 80 * torch.eye(BITS)
    params["model.p.decoder.output.bias"] = torch.full((BITS,), -40.0)

    seeds = [0, 1]
    states = [rule.state(s, 16) for s in (0, 1)]
    pack = fast.Pack(rule, descent, [params] * 2, states, [{}, {}], data, engine=engine)
    before = [s["posterior"].clone() for s in states]

    # Three batches of four images: four images have not been seen.
    order, _ = advance(pack, 4, seeds, slice(0, 3))

    for r in range(2):
        shown = order[:3, r].flatten()
        unseen = [i for i in range(16) if i not in shown.tolist()]
        chains = pack.state["posterior"][r]

        assert len(unseen) == 4
        assert torch.equal(chains[shown], data[shown])
        assert torch.equal(chains[unseen], before[r][unseen])

    # The fourth batch shows the rest.
    advance(pack, 4, seeds, slice(3, 4))
    assert torch.equal(pack.state["posterior"], data.expand(2, -1, -1))


def test_packed_equals_plain():
    data = (torch.rand(12, VISIBLE, generator=torch.Generator().manual_seed(0)) < 0.4).to(
        torch.uint8
    )
    seeds = [0, 1, 2]
    packs = []

    for engine in ("plain", "packed"):
        rule = rule_of(1, sweeps=2).float()
        packs.append(pack_of(rule, data, seeds, engine, 0.05))
        start = packs[-1].seed(0)
        packs[-1].sums = advance(packs[-1], 4, seeds, slice(0, 15))[1]

        # Every parameter of the first seed must have moved.
        moved = {k: not torch.equal(v, start[0][k]) for k, v in packs[-1].seed(0)[0].items()}
        del moved["model.p.decoder.net.dense.0.bias"]  # batch normalisation takes it away again

        assert all(moved.values())

    torch.testing.assert_close(packs[0].sums["bound"], packs[1].sums["bound"], rtol=1e-5, atol=1e-4)

    for a, b in ((packs[0].params, packs[1].params), (packs[0].state, packs[1].state)):
        for k, v in a.items():
            torch.testing.assert_close(v, b[k], rtol=1e-4, atol=1e-5)

    assert not torch.equal(packs[0].state["posterior"][0], packs[0].state["posterior"][1])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own making
@pytest.mark.skipif(not choice.compiler_found(), reason="no C++ compiler")
def test_compiled_equals_plain():
    data = (torch.rand(12, VISIBLE, generator=torch.Generator().manual_seed(0)) < 0.4).to(
        torch.uint8
    )
    packs = [
        pack_of(rule_of(1, sweeps=1).float(), data, [0, 1], engine, 0.05)
        for engine in ("plain", "compiled")
    ]
    sums = [advance(p, 4, [0, 1], slice(0, 6))[1]["bound"] for p in packs]

    torch.testing.assert_close(*sums, rtol=1e-5, atol=1e-4)
    assert torch.equal(packs[0].state["posterior"], packs[1].state["posterior"])
