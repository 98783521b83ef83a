"""What trained models make: samples of machines against enumeration, documents from their codes,
and what is refused."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from kit.rbms import normal_rbm

from vaebench.check import checks as check
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.errors import UserError
from vaebench.evaluation import generation
from vaebench.evaluation.generation import Decoding
from vaebench.models.image_vae import ImageVAE
from vaebench.models.linear_gaussian import LinearGaussian
from vaebench.models.pixel_cnn import PixelCNN
from vaebench.models.text_lm import TextLM
from vaebench.models.text_vae import TextVAE

CHAINS = 4000


small_rbm = partial(normal_rbm, n1=2, n2=3, seed=4, dtype=torch.float32)


def states(z):
    """Number of each state, from its bits (..., 5)."""
    return (z * 2 ** torch.arange(5)).sum(-1).long()


def check_frequencies(one, z1, z2):
    """Each of 32 frequencies is within 4.5 standard errors and 1e-3. The chance of a false alarm is
    below 3e-4 for all together."""
    frequencies = torch.bincount(states(torch.cat([z1, z2], -1)), minlength=32) / len(z1)
    all_states = boltzmann_exact.states(5, torch.zeros(1), 0, 32)
    exact = torch.softmax(one.negative_energy(all_states[:, :2], all_states[:, 2:]), 0)
    order = states(all_states)

    assert (
        (frequencies[order] - exact).abs() < 4.5 * (exact * (1 - exact) / len(z1)).sqrt() + 1e-3
    ).all()


def test_chains_settle_on_their_machine(monkeypatch):
    monkeypatch.setattr(generation, "SWEEPS", 130)
    rbm = small_rbm()
    z1, z2 = generation._settled(rbm, torch.ones(1, CHAINS, 2), 0)
    check_frequencies(rbm, z1[0], z2[0])


@pytest.mark.parametrize("name", ["rbm_vae", "rbm_posterior"])
def test_a_boltzmann_sample_has_all_its_sweeps(name, monkeypatch):
    """10,000 sweeps of the prior for a drawn image, and as many of the posterior for a
    reconstruction, in blocks of noise."""
    sweeps = []
    gibbs_of_all = RBM.gibbs

    # Counts the sweeps of a block, and makes only the first of them.
    def gibbs(self, z1, u2, u1):
        sweeps.append(len(u1))
        return gibbs_of_all(self, z1, u2[:1], u1[:1])

    monkeypatch.setattr(RBM, "gibbs", gibbs)
    model = (
        check.tiny({"name": name, "latents": 4, "units": 3, "layers": 1})
        .float()
        .requires_grad_(False)
    )
    x = generation.drawn_images(model, 2, 0)

    assert sum(sweeps) == 10_000

    sweeps.clear()
    generation.images_again(model, x, 0)

    assert sum(sweeps) == (10_000 if name == "rbm_posterior" else 0)


def test_chains_of_a_batch_settle_each_on_its_own(monkeypatch):
    monkeypatch.setattr(generation, "SWEEPS", 130)
    rbms = small_rbm(2)
    z1, z2 = generation._settled(rbms, torch.zeros(CHAINS, 2, 2), 0)

    for i in range(2):
        check_frequencies(RBM(rbms.b1[i], rbms.b2[i], rbms.w[i]), z1[:, i], z2[:, i])


@pytest.mark.parametrize(
    "name", ["sbn", "fdarn", "darn", "rbm_vae", "rbm_posterior", "rbm_generator"]
)
def test_images_of_every_family(name, monkeypatch):
    """Images are bits, and they are equal only if the seed is."""
    monkeypatch.setattr(generation, "SWEEPS", 5)
    settings = (
        {"dims": [3]}
        if name in ("sbn", "fdarn", "darn")
        else {"latents": 4, "units": 3, "layers": 1}
    )
    model = check.tiny({"name": name, **settings}).float().requires_grad_(False)
    x = generation.drawn_images(model, 40, 0)
    again = generation.images_again(model, x, 0)

    for images in (x, again):
        assert images.shape == (40, check.VISIBLE)
        assert set(images.unique().tolist()) == {0.0, 1.0}

    assert torch.equal(x, generation.drawn_images(model, 40, 0))
    assert not torch.equal(x, generation.drawn_images(model, 40, 1))
    assert torch.equal(again, generation.images_again(model, x, 0))


def image_model(kind, **settings):
    model = kind(
        DataInfo(torch.full((6,), 0.5), shape=(2, 3)), channels=4, kernels=[3, 3], **settings
    )
    randomize(model, 2, 0.5)
    return model.requires_grad_(False)


def test_images_of_models_that_draw_pixel_by_pixel():
    vae = image_model(ImageVAE, latents=2, encoder_channels=[3], features=4)
    drawn = generation.drawn_images(vae, 40, 0)

    for images in (
        drawn,
        generation.images_again(vae, drawn, 0),
        generation.drawn_images(image_model(PixelCNN), 40, 0),
    ):
        assert images.shape == (40, 6)
        assert set(images.unique().tolist()) == {0.0, 1.0}

    assert torch.equal(drawn, generation.drawn_images(vae, 40, 0))
    assert not torch.equal(drawn, generation.drawn_images(vae, 40, 1))


def test_images_of_a_pixel_cnn_have_their_probabilities():
    """Frequencies of the 64 possible images among 4,000, against the exact likelihoods. The chance
    of a false alarm is below 1e-3 for all together."""
    model = image_model(PixelCNN)
    images = generation.drawn_images(model, 4000, 0)
    all_images = boltzmann_exact.states(6, torch.zeros(1), 0, 64)
    p = model.score(all_images).double().exp()

    assert float(p.sum()) == pytest.approx(1, abs=1e-5)

    number = lambda x: (x * 2 ** torch.arange(6)).sum(-1).long()  # noqa: E731
    frequencies = torch.bincount(number(images), minlength=64)[number(all_images)].double() / 4000

    assert ((frequencies - p).abs() < 4.5 * (p * (1 - p) / 4000).sqrt() + 1e-3).all()


@pytest.mark.parametrize("name", ["sbn", "rbm_vae"])
def test_visible_samples_have_their_probabilities(name):
    """Means over 20,000 draws against the probability of a pixel, which is the logistic function of
    the difference between two log-likelihoods. Each is within 4.5 standard errors."""
    settings = {"dims": [3]} if name == "sbn" else {"latents": 4, "units": 3, "layers": 1}
    model = check.tiny({"name": name, **settings}).float().requires_grad_(False)
    z = [torch.ones(1, 1, model.sizes[1])]
    u = torch.rand(20_000, 1, check.VISIBLE, generator=torch.Generator().manual_seed(1))

    got = model.sample_visible([v.expand(20_000, 1, -1) for v in z], u).mean((0, 1))
    ones = torch.eye(check.VISIBLE).unsqueeze(1)
    term = lambda x: model.log_joint_terms(x, z)[0].squeeze()  # noqa: E731
    p = torch.sigmoid(torch.stack([term(unit) - term(torch.zeros_like(unit)) for unit in ones]))

    assert ((got - p).abs() < 4.5 * (p * (1 - p) / 20_000).sqrt()).all()


def text_model(kind=TextVAE, **settings):
    model = kind(DataInfo(torch.ones(9) / 9, Kind.TOKENS), embedding=3, units=4, **settings)
    randomize(model, 2, 0.8)
    return model.requires_grad_(False)


@pytest.mark.parametrize("how", ["sample", "greedy", "beam"])
def test_documents(how):
    model = text_model(latents=2)
    decoding = Decoding(how, 3, 6)

    made = generation.drawn(model, 4, 0, decoding)

    assert len(made) == 4
    assert all(1 <= len(d.tokens) <= 6 for d in made)
    assert made == generation.drawn(model, 4, 0, decoding)

    of_language_model = generation.drawn(text_model(TextLM), 4, 0, decoding)
    assert len(of_language_model) == 4
    # Without a code, all documents are the same unless they are drawn.
    assert (len(set(of_language_model)) == 1) == (how != "sample")


def test_codes_are_the_posterior():
    """In standard deviations of the posterior, the distances of 2,000 samples of two latents from
    their means have the mean 0 and the variance 1."""
    model = text_model(latents=2)
    x = torch.tensor([[1, 5, 6, 2], [1, 4, 2, 0]]).repeat(1000, 1)
    mean, log_var = model.encode(x)

    torch.testing.assert_close(generation.codes(model, x, 0, mean=True), mean)

    z = (generation.codes(model, x, 0, mean=False) - mean) * torch.exp(-log_var / 2)
    assert abs(float(z.mean())) < 4.5 / 4000**0.5
    assert abs(float(z.var()) - 1) < 4.5 * (2 / 4000) ** 0.5


def test_what_is_refused():
    with pytest.raises(UserError, match=r"--how gredy: did you mean .greedy"):
        Decoding("gredy")
    with pytest.raises(UserError, match="--width 0: allowed"):
        Decoding("beam", 0)
    with pytest.raises(UserError, match="no images"):
        generation.drawn_images(text_model(latents=2), 1, 0)
    with pytest.raises(UserError, match="model=linear_gaussian makes no images of zeros and ones"):
        generation.drawn_images(LinearGaussian(DataInfo(torch.zeros(4)), [2]), 1, 0)
    with pytest.raises(UserError, match="model=pixel_cnn has no codes of images"):
        generation.images_again(image_model(PixelCNN), torch.zeros(1, 6), 0)
    with pytest.raises(UserError, match="no codes"):
        generation.codes(text_model(TextLM), torch.tensor([[1, 5, 2]]), 0, mean=True)


@pytest.mark.parametrize("how", ["sample", "greedy", "beam"])
def test_documents_are_made_in_parts_and_in_order(monkeypatch, how):
    """The document of a code does not depend on how many codes are read at once."""
    model = TextVAE(
        DataInfo(torch.full((9,), 1 / 9), Kind.TOKENS),
        latents=2,
        embedding=4,
        units=5,
        dropout_in=0,
        dropout_out=0,
    )
    generator = torch.Generator().manual_seed(0)

    for p in model.parameters():
        torch.nn.init.normal_(p, std=2.0, generator=generator)

    z = torch.randn(7, 2, generator=generator)
    decoding = Decoding(how=how, longest=6, width=3)

    monkeypatch.setattr(generation, "TOGETHER", 3)

    with torch.no_grad():
        in_parts = decoding.documents(model, z, 7, 0)
        assert len(in_parts) == 7
        if how != "sample":
            monkeypatch.setattr(generation, "TOGETHER", 100)
            assert [d.words for d in in_parts] == [
                d.words for d in decoding.documents(model, z, 7, 0)
            ]
        else:
            assert [d.words for d in in_parts[:3]] == [
                d.words for d in decoding.documents(model, z[:3], 3, 0)
            ]
            assert (
                len({tuple(d.words) for d in decoding.documents(model, z[:1].expand(7, -1), 7, 0)})
                > 3
            )

    x = torch.tensor([[1, 4, 5, 2], [1, 6, 2, 0], [1, 7, 8, 2], [1, 4, 2, 0]])
    with torch.no_grad():
        monkeypatch.setattr(generation, "TOGETHER", 3)
        torch.testing.assert_close(generation.codes(model, x, 0, True), model.encode(x)[0])


@pytest.mark.parametrize(("name", "value"), [("longest", 0), ("longest", 10**12), ("width", 10**6)])
def test_sizes_that_no_memory_holds_are_refused(name, value):
    with pytest.raises(UserError, match=rf"--{name} {value}: allowed: a whole number from 1 to"):
        Decoding(**{name: value})
