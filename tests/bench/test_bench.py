"""What ``vaebench bench`` times, in which sections, and what it prints."""

from __future__ import annotations

import json
import math
import sys

import pytest
import torch

from vaebench import cli
from vaebench.bench import boltzmann as bench_boltzmann
from vaebench.bench import packs
from vaebench.bench import sections as bench
from vaebench.errors import UserError
from vaebench.rng import noise
from vaebench.training import choice

CPU = torch.device("cpu")
SBN = ({"name": "sbn", "dims": [3]}, {"name": "nvil"})
SMALL = {"name": "rbm_vae", "latents": 8, "layers": 0}
FEW = {"name": "pwl", "prior_chains": 5, "prior_sweeps": 4}
BITS = ({"name": "rbm_generator", "latents": 2, "layers": 0}, {"name": "bit_gibbs", "sweeps": 1})


def measure_only(monkeypatch, families, annealings=None):
    """Let the bench measure these families and annealings alone; all other sections are empty."""
    sections = (
        bench.bench_text,
        bench.bench_images,
        bench.bench_counts,
        bench.bench_importance,
        bench.bench_gaussian,
    )
    for section in sections:
        monkeypatch.setattr(section, "FAMILIES", {})
    monkeypatch.setattr(bench, "FAMILIES", families)
    monkeypatch.setattr(bench_boltzmann, "ANNEALINGS", annealings or {})


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    families = {"SBN 3": SBN, "RBM prior 4+4, PWL": (SMALL, FEW), "RBM prior 1+1, bit by bit": BITS}
    monkeypatch.setattr(choice, "compiler_found", lambda: False)
    monkeypatch.setattr(choice.kernels, "missing", lambda: "none here")
    measure_only(monkeypatch, families)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of our own, so that a loaded machine changes no number.

    All work is done. By this clock an update takes 1 ms, by kernels 0.1 ms, and a product of
    matrices 10 microseconds; all else takes no time.
    """
    seconds = [0.0]

    def timed(pack, number, length, batch):
        packs.advance(pack, number, length, batch)
        seconds[0] += length * (1e-4 if pack.engine == "kernel" else 1e-3)

    def product(a, b, out):
        seconds[0] += 1e-5
        return mm(a, b, out=out)

    mm = torch.mm
    monkeypatch.setattr(packs.clock, "seconds", lambda device: seconds[0])
    monkeypatch.setattr(bench, "advance", timed)
    monkeypatch.setattr(bench_boltzmann, "advance", timed)
    monkeypatch.setattr(torch, "mm", product)


def test_models_with_a_boltzmann_prior_have_the_section_in_milliseconds():
    names = [k for k, (model, _) in bench.FAMILIES.items() if bench.boltzmann(model)]
    assert [k.rpartition(", ")[2] for k in names] == [
        *("DVAE", "DVAE++", "DVAE#", "Gaussian", "GumBolt", "PWL", "DVAE##", "bit by bit"),
        *("CD-1", "greedy", "CD-25"),
    ]


def test_the_chains_part_is_what_an_update_takes_longer_with_them(monkeypatch: pytest.MonkeyPatch):
    """By a clock of our own. A sweep of a chain takes a millisecond, its noise a tenth of that, and
    the rest of an update two milliseconds."""
    clock = [0.0]
    batches = []
    drawn = []
    packing = []

    def step(pack, number, length, batch):
        batches.append((batch, length, type(pack.optim).__name__, pack.engine))
        assert pack.size == (4 if packing else 1)

        clock[0] += 2e-3 + 1e-3 * getattr(pack.objective, "prior_chains", 0) * getattr(
            pack.objective, "prior_sweeps", 0
        )

    def draw(shapes, run_seeds, number, device, length):
        drawn.append((tuple(shapes), tuple(run_seeds), length))
        clock[0] += 1e-4 * sum(s[0] * s[1] for _, s in shapes.values()) / 2 if shapes else 0.0

    monkeypatch.setattr(packs.clock, "seconds", lambda device: clock[0])
    monkeypatch.setattr(bench_boltzmann, "advance", step)
    monkeypatch.setattr(noise, "update_block", draw)

    # 5 chains of 4 sweeps: an update takes 2 + 20 ms, one with a single sweep of a single chain
    # 2 + 1 ms. The difference is the chains' share; their noise alone takes 20 / 10 ms.
    costs = bench_boltzmann.costs(SMALL, FEW, 1, ("plain",), CPU, 0.0)["plain"]

    assert costs == pytest.approx((22.0, 19.0, 2.0))
    assert set(batches) == {(100, 1, "Adam", "plain")}
    assert set(drawn) == {(("prior2", "prior1"), (0,), 1)}

    # Four seeds packed take no longer here, so that each costs a quarter.
    packing.append(True)
    packed = bench_boltzmann.costs(SMALL, FEW, 4, ("plain",), CPU, 0.0)["plain"]

    assert packed == pytest.approx((5.5, 4.75, 0.5))

    # Without chains of the prior there is no share of them.
    packing.clear()
    bits = bench_boltzmann.costs(*BITS, 1, ("plain",), CPU, 0.0)["plain"]

    assert bits.update == pytest.approx(2.0)
    assert math.isnan(bits.chains)
    assert math.isnan(bits.noise)


def test_families_by_a_part_of_their_name():
    assert list(bench.chosen("nvil")) == [k for k in bench.FAMILIES if "NVIL" in k]
    assert bench.chosen(None) == bench.FAMILIES
    assert bench.chosen("RBN") == {}
    with pytest.raises(UserError, match=r"--only RBN: in no family's name: .*allowed: "):
        next(bench.run(CPU, 0.01, 1, "RBN"))


def test_documents_have_a_section_of_their_own(small, monkeypatch, capsys: pytest.CaptureFixture):
    size = bench.bench_text.Size(9, 3, 2, {"latents": 1, "embedding": 3, "units": 4}, 40)
    x = bench.bench_text.documents(size, 50)

    # Three words between <s> = 1 and </s> = 2; numbers below 4 are no words.
    assert x.shape == (50, 5)
    assert set(x[:, 0].tolist()) == {1}
    assert set(x[:, -1].tolist()) == {2}
    assert 4 <= int(x[:, 1:-1].min()) <= int(x[:, 1:-1].max()) < 9

    families = {f"{m} {o}": ("tiny", {"name": m}, {"name": o})
                for m, o in (("text_vae", "vae"), ("text_vae", "aggressive"),
                             ("text_lm", "likelihood"))}  # fmt: skip
    monkeypatch.setattr(bench.bench_text, "SIZES", {"tiny": size})
    monkeypatch.setattr(bench.bench_text, "FAMILIES", families)

    assert cli.main(["bench", "--only", "text", "--seconds", "0.01", "run.device=cpu"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.rsplit(None, 5)[0].strip() for line in lines[-3:]] == list(families)
    for line in lines[-3:]:
        step, in_bfloat16, ratio, scored, _ = line.split()[-5:]
        assert float(scored) > 0
        assert float(ratio.strip("(x)")) == pytest.approx(float(in_bfloat16) / float(step), rel=0.2)


def test_counted_documents_have_a_section_with_a_column_for_each_engine(
    monkeypatch, capsys: pytest.CaptureFixture
):
    """By a clock of our own, on which an update takes a millisecond by autograd and a tenth of that
    by kernels."""
    clock = [0.0]

    def step(pack, number, length, batch):
        assert (length, batch) == (100, 20)
        clock[0] += length * (1e-4 if pack.engine == "kernel" else 1e-3)

    monkeypatch.setattr(packs.clock, "seconds", lambda device: clock[0])
    monkeypatch.setattr(bench.bench_counts, "advance", step)
    monkeypatch.setattr(choice, "compiler_found", lambda: False)
    monkeypatch.setattr(choice.kernels, "missing", lambda: "")
    monkeypatch.setattr(bench.bench_counts, "VOCABULARY", 30)
    nets = [name for name in bench.bench_counts.FAMILIES if "documents" in name]

    assert [name.split(",")[0] for name in nets] == ["SBN 50", "fDARN 50", "SBN 50"]
    assert cli.main(["bench", "--only", nets[0], "--seconds", "0.01", "run.device=cpu"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[-2:] == ["1.00", "0.10"]


def test_images_have_a_section_of_their_own(monkeypatch, capsys: pytest.CaptureFixture):
    monkeypatch.setattr(bench.bench_images, "BATCH", 2)
    monkeypatch.setattr(bench.bench_images, "SAMPLES", 2)
    monkeypatch.setattr(bench.bench_images, "AT_ONCE", 2)
    monkeypatch.setattr(bench.bench_images, "SIDE", 8)

    assert cli.main(["bench", "--only", "PixelCNN", "--seconds", "0.01", "run.device=cpu"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[-1].split()[0] for line in lines[-2:]] == ["update", "image"]
    assert "(x" in lines[-1]


def test_the_decoder_written_down_is_the_decoder():
    """Two implementations of one network have the same logits if they have the same parameters and
    running averages."""
    from vaebench.nn.channel_norm import ChannelNorm
    from vaebench.nn.init import initialize
    from vaebench.nn.pixel_decoder import PixelDecoder

    ours = PixelDecoder((28, 28), 32)
    initialize(ours, torch.Generator().manual_seed(0))
    literal = bench.bench_images.Literal(32).eval()
    norms = [m for m in ours.modules() if isinstance(m, ChannelNorm)]
    literal_norms = [
        m
        for name, m in literal.named_modules()
        if isinstance(m, torch.nn.BatchNorm2d) and "encoder" not in name
    ]
    weights = [p for name, p in ours.named_parameters() if p.dim() == 4]
    literal_weights = [
        p for name, p in literal.named_parameters() if p.dim() == 4 and "encoder" not in name
    ]

    assert len(norms) == len(literal_norms) == 71

    # Layers correspond in the order in which the networks list them.
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight, literal_weight in zip(weights, literal_weights, strict=True):
            literal_weight.copy_(weight)
        for norm, literal_norm in zip(norms, literal_norms, strict=True):
            norm.variance.uniform_(0.5, 2.0, generator=generator)
            norm.mean.normal_(generator=generator)

            for name, to in (
                ("scale", "weight"),
                ("shift", "bias"),
                ("mean", "running_mean"),
                ("variance", "running_var"),
            ):
                getattr(literal_norm, to).copy_(getattr(norm, name))

        literal.code.weight.copy_(ours.code.weight)
        literal.code.bias.copy_(ours.code.bias)
        x = (torch.rand(2, 784, generator=generator) < 0.3).float()
        z = torch.randn(1, 2, 32, generator=generator)
        our_logits = ours(x, z)[0]
        literal_logits = literal.decode(x, z[0])

    assert (our_logits - literal_logits).abs().max() < 1e-4 * literal_logits.abs().max()


def test_the_command(small, clock, capsys: pytest.CaptureFixture):
    assert cli.main(["bench", "--seconds", "0.05", "run.device=cpu"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("updates per second and seed, batch 20")
    assert lines[4].split() == ["plain", "products"]

    # Six products an update: forwards and for the gradient, in the model, the inference network and
    # the baseline. 1,000 updates take a second, 6,000 products 60 ms.
    assert lines[5].removeprefix("SBN 3").split() == ["1,000", "16,667"]
    assert lines[6] == ""
    assert lines[7].startswith("milliseconds per update and seed, batch 100, Adam")
    assert lines[10].split() == ["plain", "chains", "noise", "kernel", "chains", "products"]

    pwl = lines[11]
    bits = lines[12]

    assert pwl.split()[:4] == ["RBM", "prior", "4+4,", "PWL"]
    assert pwl.split()[4] == "1.0"
    assert bits.split()[-6:-1] == ["1.0", "-", "-", "-", "-"]
    assert len(lines) == 13


def test_the_numbers_as_json(small, capsys: pytest.CaptureFixture):
    assert cli.main(["bench", "--seconds", "0.01", "--json", "run.device=cpu"]) == 0

    out = json.loads(capsys.readouterr().out)
    assert "torch" in out["where"]
    assert [m["family"] for m in out["measured"]] == list(bench.FAMILIES)
    assert [set(m) - {"family", "unit"} for m in out["measured"]] == [
        *({"plain", "products"}, {"update", "chains", "noise", "products"}, {"update", "products"})
    ]


@pytest.mark.skipif(bool(bench.kernels.missing()), reason="no Numba")
def test_kernels_have_a_column_where_there_are_some(
    monkeypatch, clock, capsys: pytest.CaptureFixture
):
    linear = {"name": "linear_gaussian", "dims": [2]}, {"name": "iw_bound", "samples": 1}
    monkeypatch.setattr(choice, "compiler_found", lambda: False)
    monkeypatch.setattr(bench.kernels, "missing", lambda: "")
    measure_only(monkeypatch, {"SBN 3": SBN, "linear": linear})

    assert cli.main(["bench", "--seconds", "0.05", "run.device=cpu"]) == 0

    heads, sbn, linear = (line.split() for line in capsys.readouterr().out.splitlines()[-3:])
    assert heads == ["plain", "kernel", "1", "products"]
    assert linear[-2:] == ["-", "-"]

    # Behind the kernels' updates per second: their ratio to plain, and to the best of the others.
    assert sbn[2:] == ["1,000", "10,000", "(x10.0,", "x10.0)", "16,667"]


def test_the_products_of_an_update(monkeypatch):
    """Every weight matrix is multiplied once forwards and once for its gradient. Wake-sleep, which
    dreams, multiplies twice forwards."""
    products = []
    monkeypatch.setattr(bench, "_per_second", lambda work, seconds, device: work(0) or 1.0)
    monkeypatch.setattr(bench.noise, "BLOCK", 1)
    monkeypatch.setattr(
        bench.torch, "mm", lambda a, b, out: products.append((*a.shape, b.shape[1]))
    )
    bench.floor(bench.make_pack(*SBN, 1, "plain", CPU), 1.0)

    # (rows, inner, columns) of each product: forwards, then for the gradient.
    up = [(20, 784, 3), (3, 20, 784)]
    down = [(20, 3, 784), (784, 20, 3)]
    baseline = [(20, 784, 100), (100, 20, 784)]

    assert sorted(products) == sorted(up + down + baseline)

    products.clear()
    bench.floor(bench.make_pack(SBN[0], {"name": "wake_sleep"}, 1, "plain", CPU), 1.0)

    assert sorted(products) == sorted([*up, *down, up[0], down[0]])


def test_an_evaluation_beside_its_products(monkeypatch, capsys: pytest.CaptureFixture):
    """By a clock of our own, which says what each turn took. The first turn does not count; of the
    others the best does, as the time for 1,000 samples of a case."""
    clock = [0.0]
    turns = []
    seconds_of = {
        "plain": [9.0, 0.8, 0.6, 0.7],
        "kernel": [9.0, 0.5, 0.4, 0.6],
        "products": [9.0, 0.3, 0.2, 0.25],
    }

    def work(name):
        turns.append(name)
        clock[0] += seconds_of[name][turns.count(name) - 1]

    def score(model, x, samples, wanted, number):
        assert (len(x), samples) == (100, 2000 if wanted else 200)
        work("kernel" if wanted else "plain")

    monkeypatch.setattr(bench.kernels, "missing", lambda: "")
    monkeypatch.setattr(bench.bench_importance, "score", score)
    monkeypatch.setattr(
        bench.bench_importance, "products", lambda model, device: lambda number: work("products")
    )
    monkeypatch.setattr(packs.clock, "seconds", lambda device: clock[0])

    assert (
        cli.main(["bench", "--json", "--only", "SBN 200, IW", "--seconds", "1", "run.device=cpu"])
        == 0
    )

    (measured,) = json.loads(capsys.readouterr().out)["measured"]
    # Thousands of samples in a turn: 100 cases with 200 samples are 20, with 2,000 are 200; the
    # products are repeated 100 times.
    assert measured["unit"] == "ms for 1,000 samples of a case"
    assert measured["plain"] == pytest.approx(600 / 20)
    assert measured["kernel"] == pytest.approx(400 / 200)
    assert measured["products"] == pytest.approx(200 / 100)
    assert measured["rate"] == pytest.approx(1.0)


def test_the_products_of_samples(monkeypatch):
    """Products whose factors differ from sample to sample are made: not those of the first layer of
    the inference network."""
    products = []
    monkeypatch.setattr(
        bench.torch, "mm", lambda a, b, out: products.append((*a.shape, b.shape[1]))
    )

    for config, shapes in (
        ({"name": "sbn", "dims": [2, 3]}, [(1000, 3, 784), (1000, 2, 3), (1000, 3, 2)]),
        ({"name": "darn", "dims": [3]}, [(1000, 3, 784), (1000, 3, 3)]),
        (
            {"name": "sbn", "dims": [3], "posterior": "autoregressive"},
            [(1000, 3, 784), (1000, 3, 3)],
        ),
    ):
        products.clear()
        bench.bench_importance.products(bench.bench_importance.make_model(config, CPU), CPU)()

        assert len(products) == len(shapes) * bench.bench_importance.REPEATS
        assert sorted(set(products)) == sorted(shapes)


def test_jax_is_an_extra(monkeypatch, small, capsys: pytest.CaptureFixture):
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")

    assert cli.main(["bench", "--with", "jax", "run.device=cpu"]) == 2

    err = capsys.readouterr().err
    assert err.startswith("vaebench: --with jax: ")
    assert err.endswith('pip install "vaebench[jax]"\n')


def test_the_help_names_all_that_has_a_loop_in_jax(capsys: pytest.CaptureFixture):
    assert cli.main(["bench", "--help"]) == 0

    help_text = " ".join(capsys.readouterr().out.split())
    assert "beside NVIL and beside models with Gaussian latents (--only latents)" in help_text
    assert all("latents" in name for name in bench.bench_gaussian.FAMILIES)


@pytest.mark.slow
def test_the_jax_loop_is_nvil(monkeypatch):
    """On the same data, and from starts of the same distribution, it and the plain engine come to
    the same bound."""
    pytest.importorskip("jax")
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    pack = bench.make_pack({"name": "sbn", "dims": [10, 20]}, {"name": "nvil"}, 1, "plain", CPU)
    loop = bench.bench_jax.updates([10, 20], pack.data.numpy(), 20, 100)

    # The bound of the last of ten blocks of 100 updates. Numbers differ, because JAX draws others.
    for block in range(10):
        jax_bound = loop(block)
        draws = noise.update_block(pack.objective.draws(20, 784), [0], block, CPU)
        our_bound = (
            float(
                pack.advance(
                    noise.order_block(5000, 20, "replacement", [0], block),
                    draws,
                    None,
                )["bound"]
            )
            / 100
        )

    assert -330 < our_bound < -300
    assert jax_bound == pytest.approx(our_bound, abs=2)


def test_the_command_with_a_selection(small, capsys: pytest.CaptureFixture):
    assert cli.main(["bench", "--only", "pwl", "--seconds", "0.01", "run.device=cpu"]) == 0
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()[5:]] == [
        "RBM prior 4+4"
    ]
    assert cli.main(["bench", "--only", "x", "run.device=cpu"]) == 2
    assert capsys.readouterr().err.startswith("vaebench: --only x: in no family's name: allowed: ")


def test_the_speed_leaves_out_compilation_and_the_first_block(monkeypatch: pytest.MonkeyPatch):
    """By a clock of our own. The first block takes 100 s, every later one half a second with its
    noise."""
    clock = [0.0]
    blocks = []

    def advance(pack, number, length, batch):
        blocks.append((number, length, batch))
        clock[0] += 100.0 if number == 0 else 0.5

    class Rule:
        block = None

    class Pack:
        objective = Rule()
        size = 3

    monkeypatch.setattr(bench, "advance", advance)
    monkeypatch.setattr(packs.clock, "seconds", lambda device: clock[0])

    # After 1.9 s four blocks have been counted.
    assert bench.speed(Pack(), 1.9, CPU) == pytest.approx(noise.BLOCK * 3 / 0.5)
    assert blocks == [(i, noise.BLOCK, 20) for i in range(5)]


def test_the_products_of_an_update_with_chains(monkeypatch):
    """Layers are multiplied once forwards and twice backwards, chains twice a sweep, and the
    decoder's once for each bit that is drawn."""
    products = []
    monkeypatch.setattr(
        bench_boltzmann.torch, "mm", lambda a, b, out: products.append((*a.shape, b.shape[1]))
    )
    bench_boltzmann.products(bench.make_pack(SMALL, FEW, 1, "plain", CPU))()

    assert sorted(products) == sorted(3 * [(100, 784, 8), (100, 8, 784)] + 2 * 4 * [(5, 4, 4)])

    products.clear()
    bench_boltzmann.products(bench.make_pack(*BITS, 1, "plain", CPU))()

    assert products == (3 + 2) * [(100, 2, 784)]


@pytest.mark.skipif(bool(bench.kernels.missing()), reason="no Numba")
def test_the_command_shows_the_kernels_of_chains_and_of_annealing(
    monkeypatch, capsys: pytest.CaptureFixture
):
    families = {"RBM prior 4+4, PWL": (SMALL, FEW)}
    size = bench_boltzmann.Annealing(5, 3, 20)
    measure_only(monkeypatch, families, {"log Z of a small RBM": size})

    assert cli.main(["bench", "--seconds", "0.01", "--json", "run.device=cpu"]) == 0

    rows = {m["family"]: m for m in json.loads(capsys.readouterr().out)["measured"]}
    assert {"kernel update", "kernel chains", "kernel noise", "products"} < set(
        rows["RBM prior 4+4, PWL"]
    )
    assert set(rows["log Z of a small RBM"]) == {"family", "unit", "plain", "kernel"}
