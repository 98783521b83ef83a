"""Models of images: scores, samples, networks by loops of our own, half
precision, grey inner batches."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from vaebench import kernels, objectives, optim
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.models import images as image_models
from vaebench.models.image_vae import ImageVAE
from vaebench.models.pixel_cnn import PixelCNN
from vaebench.nn.init import initialize
from vaebench.objectives.base import Batch
from vaebench.training.batches import Batches
from vaebench.training.engines import Pack, check_precision
from vaebench.training.inner_loop import inner_updates

DECODERS = ["masked", "gated"]


def started(model):
    """With initial parameters and running averages that are not those of a start."""
    generator = torch.Generator().manual_seed(0)
    initialize(model, generator)
    with torch.no_grad():
        for name, v in model.named_buffers():
            if name.endswith(".variance"):
                v.uniform_(0.5, 2.0, generator=generator)

    return model


def info(height: int, width: int) -> DataInfo:
    return DataInfo(np.full(height * width, 0.4), shape=(height, width))


def vae(height: int = 6, width: int = 5, decoder: str = "masked", channels: int = 16) -> ImageVAE:
    settings = {
        "channels": channels,
        "kernels": [5, 3, 3],
        "encoder_channels": [channels],
        "features": channels,
    }
    return started(ImageVAE(info(height, width), latents=3, decoder=decoder, **settings))


def images(n: int, pixels: int = 30, seed: int = 1) -> Tensor:
    return (torch.rand(n, pixels, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


@pytest.mark.parametrize("decoder", DECODERS)
def test_scores_are_the_likelihoods(decoder):
    """Scores are computed in parts of a few rows and share what depends on the image alone; both
    give the likelihood of plain PyTorch."""
    model = vae(decoder=decoder)
    x = images(7)
    z = [torch.randn(9, 7, 3, generator=torch.Generator().manual_seed(2))]
    with torch.no_grad(), kernels.use(False):
        by_pytorch = model.log_likelihood(x, z)

    torch.testing.assert_close(model.score(x, z), by_pytorch, rtol=1e-5, atol=1e-4)

    alone = started(PixelCNN(info(6, 5), decoder=decoder, channels=16, kernels=[5, 3]))
    with torch.no_grad(), kernels.use(False):
        by_pytorch = alone.log_evidence(images(40))

    torch.testing.assert_close(alone.score(images(40)), by_pytorch, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("decoder", DECODERS)
def test_samples_have_the_probabilities_of_the_model(decoder):
    """All sixteen images of 2x2 given a code; 20,000 samples, 5 standard deviations: one false
    alarm in 10^5."""
    model = vae(2, 2, decoder)
    n = 20_000
    z = torch.full((1, 1, 3), 0.5)
    all_x = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)))

    # The probability of each image, given the code.
    p = model.score(all_x, [z.expand(1, 16, 3)])[0].exp()

    assert float(p.sum()) == pytest.approx(1, abs=1e-5)

    uniform = torch.rand(1, n, 4, generator=torch.Generator().manual_seed(3))
    drawn = model.sample_visible([z.expand(1, n, 3)], uniform)[0]

    # Each sample's image as a number, its first pixel the most significant, as in all_x.
    numbers = (drawn @ torch.tensor([8.0, 4.0, 2.0, 1.0])).long()
    share = torch.bincount(numbers, minlength=16) / n

    assert ((share - p).abs() < 5 * (p * (1 - p) / n).sqrt() + 1e-9).all()


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kernel", [False, True])
def test_every_pixel_is_drawn_given_all_before_it(decoder, kernel, monkeypatch):
    """Images that are drawn row by row, in parts, are those that whole
    images give, pixel by pixel."""
    model = vae(decoder=decoder)
    z = [torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(2))]
    uniform = torch.rand(2, 7, 30, generator=torch.Generator().manual_seed(3))

    # Four images at a time: a part has 20 pixels in a row of the images, which are 5 wide.
    monkeypatch.setitem(image_models.PIXELS, "cpu", 4 * 5)
    with kernels.use(kernel):
        drawn = model.sample_visible(z, uniform)

    # Logits of every pixel from the whole images that were drawn.
    with torch.no_grad(), kernels.use(False):
        logits = torch.stack(
            [model.p(x, code.unsqueeze(0))[0] for x, code in zip(drawn, z[0], strict=True)]
        )

    # Where the noise is within rounding of p, either value is right.
    p = torch.sigmoid(logits)
    sure = (p - uniform).abs() > 1e-5

    assert sure.float().mean() > 0.99
    assert torch.equal((uniform < p)[sure], drawn[sure] == 1)


def pack(engine: str, rule: str, model, data: Tensor, kind: Kind = Kind.BITS, **settings) -> Pack:
    """One seed of an objective around a model, by plain descent: Adam would turn mere rounding
    into full steps."""
    objective = objectives.build({"name": rule, **settings}, model)
    update = optim.build({"name": "clipped_sgd", "rate": 0.1})
    params = {k: v.detach().clone() for k, v in objective.named_parameters()}
    parts = ([params], [objective.state(0, len(data))], [update.state(params)])
    return Pack(objective, update, *parts, data=data, kind=kind, engine=engine, updates=10)


def noise_of(made: Pack, updates: int, batch: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(4)
    make = {"normal": torch.randn, "uniform": torch.rand}
    return {
        name: make[law](updates, 1, *shape, generator=generator)
        for name, (law, shape) in made.draws(batch).items()
    }


@pytest.mark.parametrize(
    ("rule", "decoder"), [("vae", "masked"), ("vae", "gated"), ("likelihood", "masked")]
)
def test_kernels_train_as_plain_pytorch(rule, decoder, monkeypatch):
    """Parameters and running averages after five updates."""
    pytest.importorskip("numba")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    data = images(40)

    results = {}
    for engine in ("plain", "kernel"):
        # The same parameters at the start, the same batches and noise for both engines.
        if rule == "vae":
            model = vae(decoder=decoder)
        else:
            model = started(PixelCNN(info(6, 5), decoder=decoder, channels=16, kernels=[5, 3, 3]))

        seed_pack = pack(engine, rule, model, data)
        rows = torch.arange(40).view(5, 1, 8)
        sums = seed_pack.advance(rows, noise_of(seed_pack, 5, 8), None)
        params, state, _ = seed_pack.seed(0)
        results[engine] = {**params, **state, "bound": sums["bound"].float()}

    for name, plain_value in results["plain"].items():
        torch.testing.assert_close(
            results["kernel"][name],
            plain_value,
            rtol=1e-3,
            atol=1e-4,
            msg=lambda m, n=name: f"{n}: {m}",
        )


def test_half_precision_leaves_the_likelihood_where_it_is():
    """Every image's likelihood within 0.1 %, their mean within 0.02 %, the moments within 5 % of
    their norm; 28x28 images, the published networks at their start."""
    model = started(ImageVAE(info(28, 28)))
    x = images(4, 784)
    z = [torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(2))]

    with torch.no_grad():
        log_p = model.log_likelihood(x, z, None, {})
        moments = torch.stack(model.encode(x, {}))
        with torch.autocast("cpu", torch.bfloat16):
            half_log_p = model.log_likelihood(x, z, None, {})
            half_moments = torch.stack(model.encode(x, {}))

    assert half_log_p.dtype == half_moments.dtype == torch.float32
    assert ((half_log_p - log_p).abs() < 1e-3 * log_p.abs()).all()
    assert abs(float((half_log_p - log_p).mean())) < 2e-4 * abs(float(log_p.mean()))
    assert (half_moments - moments).norm() < 0.05 * moments.norm()


def test_half_precision_is_refused_for_other_models():
    model = objectives.build({"name": "nvil"}, _belief_net())
    update = optim.build({"name": "sgd", "rate": 0.1})
    params = {k: v.detach().clone() for k, v in model.named_parameters()}

    with pytest.raises(UserError, match=r"train\.precision=bfloat16"):
        Pack(model, update, [params], [model.state()], [{}], data=images(4), precision="bfloat16")


def test_half_precision_is_refused_where_it_spoils_the_gradient():
    """A central difference over 1e-3 in bfloat16 has hardly anything of the
    derivative (cosine below 0.2)."""
    gradients = {}
    for half in (False, True):
        model = started(
            ImageVAE(info(8, 8), latents=4, kernels=(5, 3, 3), encoder_channels=(16,), features=16)
        )
        rule = objectives.build(
            {"name": "semi_amortised", "svi_steps": 5, "gradient": "finite_difference"}, model
        )
        generator = torch.Generator().manual_seed(2)
        draws = {
            k: torch.randn(shape, generator=generator)
            for k, (_, shape) in rule.draws(32, 64).items()
        }
        batch = Batch(images(32, 64), update=torch.tensor(0), passes=torch.tensor(1.0))
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss, _, _ = rule(rule.state(), batch, draws)
        parts = torch.autograd.grad(loss, list(rule.parameters()))
        gradients[half] = torch.cat([g.flatten() for g in parts])

    # The parameters' gradients of the two precisions have hardly a direction in common.
    assert torch.nn.functional.cosine_similarity(gradients[False], gradients[True], dim=0) < 0.2
    with pytest.raises(
        UserError, match=r"train\.precision=bfloat16: objective\.gradient=finite_difference"
    ):
        check_precision(rule, "bfloat16")

    # Without finite differences it is allowed.
    check_precision(objectives.build({"name": "semi_amortised"}, model), "bfloat16")


def _belief_net():
    from vaebench import models

    return models.build({"name": "sbn", "dims": [2]}, DataInfo(np.full(30, 0.4)))


def inner_batches_of(data):
    """(x, rows) of the three inner updates before an update on the first eight of 40 grey
    images."""
    inner_batches = []
    model = vae()
    aggressive_pack = pack("plain", "aggressive", model, data, kind=Kind.GREY, inner_fixed=3)

    # The objective notes every batch that it is given.
    original = aggressive_pack.objective.forward

    def watched(state, batch, noise):
        inner_batches.append(batch.x.clone())
        return original(state, batch, noise)

    aggressive_pack.objective.forward = watched
    batches = Batches(40, 8, "shuffle")
    number = inner_updates(
        aggressive_pack, aggressive_pack.objective, batches, seed=0, update=5, rows=torch.arange(8)
    )

    assert number == len(inner_batches) == 3

    # The loop begins with the batch of the update that follows.
    rows = [torch.arange(8), *(batches.any(0, 5, made) for made in (1, 2))]
    return list(zip(inner_batches, rows, strict=True))


def test_inner_batches_of_grey_images_are_binarized_anew():
    """Every image is half grey: about half of the bits are on, other ones at every inner update."""
    inner_batches = [x for x, _ in inner_batches_of(torch.full((40, 30), 127.5))]
    for x in inner_batches:
        assert set(x.unique().tolist()) == {0.0, 1.0}
        assert 0.3 < float(x.mean()) < 0.7

    for x, other in itertools.combinations(inner_batches, 2):
        assert not torch.equal(x, other)


def test_inner_batches_of_black_and_white_images_keep_their_bits():
    """Binarization leaves grey levels of 0 and 255 as they are, whatever the noise."""
    bits = images(40)
    for x, rows in inner_batches_of(255 * bits):
        assert torch.equal(x.view(8, 30), bits[rows])


def test_a_shuffled_inner_batch_has_no_example_twice():
    batches = Batches(20, 10, "shuffle")
    for number in range(20):
        assert len(set(batches.any(0, 1, number).tolist())) == 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decoder": "maskd"}, "model.decoder='maskd'"),
        ({"kernels": [4, 3]}, "model.kernels="),
        ({"kernels": [3]}, "model.kernels="),
        ({"channels": 0}, "model.channels=0"),
        ({"maps": 0}, "model.maps=0"),
        ({"encoder_channels": []}, "model.encoder_channels="),
        ({"features": 0}, "model.features=0"),
        ({"latents": 0}, "model.latents=0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(UserError, match=message):
        ImageVAE(info(6, 5), **settings)


def test_examples_that_are_no_images_are_refused():
    with pytest.raises(UserError, match="needs images"):
        PixelCNN(DataInfo(np.full(30, 0.4), Kind.BITS))
