"""Images of moved latents: the right codes, the right latents, the right pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kit.signs import Signs

from vaebench import models
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.evaluation import generation, traversal
from vaebench.models.base import MeanVisibles
from vaebench.models.gaussian_vae import GaussianVAE
from vaebench.models.refinement import Refinement, Steps


def cases(n: int = 60) -> torch.Tensor:
    """Pixel i is 1 in every (i + 2)th case: the more of them are 1, the more its latent varies."""
    return torch.stack([(torch.arange(n) % (i + 2) == 0).float() for i in range(4)], 1)


def test_the_most_active_latents_come_first():
    model = Signs(scale=(0.1, 1.0, 0.0, 3.0))
    variances = traversal.activity(model, cases())
    expected = (2 * cases() - 1).numpy().var(0, ddof=1) * np.square([0.1, 1.0, 0.0, 3.0])

    assert variances.tolist() == pytest.approx(expected.tolist())
    assert traversal.most_active(variances, 3) == [3, 1, 0]
    assert traversal.most_active(torch.tensor([1.0, 2.0, 2.0, 0.0]), 3) == [1, 2, 0]


def test_latents_of_a_deep_latent_gaussian_model_are_moved_if_they_are_one_layer():
    model = models.build(
        {"name": "dlgm", "dims": [2], "hidden": [3]}, DataInfo(torch.full((4,), 0.5))
    )
    randomize(model, 0, 0.7)

    moved = traversal.moved(model, cases(), 2, 3, 0, manifold=True, means=True)
    (layer,) = model.posterior(cases()).layers

    assert moved.variances.tolist() == pytest.approx(layer.mean.var(0).tolist(), rel=1e-5)

    codes = traversal.plane(torch.zeros(2), moved.latents, 3)
    torch.testing.assert_close(moved.images, model.visible_mean([codes]))

    deep = models.build(
        {"name": "dlgm", "dims": [2, 2], "hidden": [3]}, DataInfo(torch.full((4,), 0.5))
    )
    with pytest.raises(UserError, match="model=dlgm has no Gaussian latents of images"):
        traversal.moved(deep, cases(), 2, 3, 0, manifold=True, means=True)


def test_one_latent_is_moved_and_the_others_stay():
    codes = traversal.along(torch.tensor([0.5, -0.5, 2.0]), [2, 0], 3)
    assert codes.tolist() == [
        [[0.5, -0.5, -3.0], [0.5, -0.5, 0.0], [0.5, -0.5, 3.0]],
        [[-3.0, -0.5, 2.0], [0.0, -0.5, 2.0], [3.0, -0.5, 2.0]],
    ]


def test_a_plane_shares_out_the_prior():
    """Its four values are those below which 1/8, 3/8, 5/8 and 7/8 of the prior lie."""
    codes = traversal.plane(torch.tensor([9.0, 0.0, 0.0]), [1, 2], 4)
    assert codes.shape == (4, 4, 3)
    assert (codes[..., 0] == 9).all()

    normal = torch.distributions.Normal(0, 1)
    torch.testing.assert_close(normal.cdf(codes[0, :, 2]), torch.tensor([1, 3, 5, 7]) / 8)
    torch.testing.assert_close(normal.cdf(codes[:, 0, 1]), torch.tensor([7, 5, 3, 1]) / 8)
    assert (codes[:, :, 2] == codes[0, :, 2]).all()
    assert (codes[:, :, 1] == codes[:, :1, 1]).all()


def test_pixels_follow_the_latent_that_is_moved():
    """Pixel i of the model is 1 where latent i is positive. At 0 it is a coin, which falls the same
    way in all images."""
    x = cases()
    moved = traversal.moved(Signs(scale=(0.1, 1.0, 0.0, 3.0)), x, latents=2, steps=4, seed=0)

    assert moved.latents == [3, 1]
    assert moved.images.shape == (2, 4, 4)

    # Pixels of latents that stay at 0 are coins.
    coins = moved.images[0, 0]
    for row, latent in enumerate(moved.latents):
        for column in range(4):
            expected = coins.clone()
            expected[latent] = float(column >= 2)  # of -3, -1, 1, 3
            assert moved.images[row, column, latent] == expected[latent]

            others = [i for i in range(4) if i not in (3, 1)]
            assert (moved.images[row, column, others] == coins[others]).all()

    again = traversal.moved(Signs(scale=(0.1, 1.0, 0.0, 3.0)), x, latents=2, steps=4, seed=0)
    assert torch.equal(moved.images, again.images)


def test_around_a_case_the_other_pixels_are_its_own():
    x = cases()
    model = Signs(scale=(1.0, 1.0, 1.0, 3.0))

    moved = traversal.moved(model, x, latents=1, steps=2, seed=5, around=12)
    expected = x[12].repeat(2, 1)
    expected[:, 3] = torch.tensor([0.0, 1.0])

    assert torch.equal(moved.images[0], expected)

    plane = traversal.moved(model, x, latents=2, steps=2, seed=5, around=7, manifold=True)
    assert plane.latents == [3, 0]
    assert plane.images[..., 3].tolist() == [[1, 1], [0, 0]]
    assert plane.images[..., 0].tolist() == [[0, 1], [0, 1]]
    assert (plane.images[..., 1:3] == x[7, 1:3]).all()


def test_a_refined_mean_is_that_of_its_batch():
    """The clip acts on a batch, so the mean of a case is the one that it has beside the same
    neighbours in an evaluation."""
    model = Signs(scale=(1.0, 1.0, 1.0, 1.0))
    model.refinement = Refinement(Steps(count=2, rate=0.5, clip=0.1), batch=8)
    x = cases()

    whole = generation.posterior_means(model, x)

    torch.testing.assert_close(traversal._mean_of(model, x, 13), whole[13])

    alone = model.posterior(x[13:14]).mean[0]
    assert not torch.allclose(alone, whole[13])


def test_reconstructions_from_samples_and_from_means():
    """With a posterior as narrow as this one, both are the images themselves. With a wide one, only
    those from the means are."""
    x = cases(20)
    assert torch.equal(generation.images_again(Signs(), x, 0), x)

    wide = Signs(log_var=4.0)
    assert torch.equal(generation.images_again(wide, x, 0, mean=True), x)
    assert not torch.equal(generation.images_again(wide, x, 0), x)


class Means(Signs, MeanVisibles):
    """The same model, with pixels whose mean is the logistic function of their latent."""

    def visible_mean(self, z):
        return torch.sigmoid(z[0])


def test_means_are_shown_where_they_are_known():
    moved = traversal.moved(Means(), cases(), latents=1, steps=3, seed=0, means=True)
    means = torch.full((1, 3, 4), 0.5)
    means[0, :, moved.latents[0]] = torch.sigmoid(torch.tensor([-3.0, 0.0, 3.0]))

    torch.testing.assert_close(moved.images, means)
    assert set(traversal.moved(Means(), cases(), 1, 3, 0).images.unique().tolist()) == {0.0, 1.0}
    assert set(traversal.moved(Signs(), cases(), 1, 3, 0, means=True).images.unique().tolist()) == {
        0.0,
        1.0,
    }


def test_what_is_refused():
    with pytest.raises(UserError, match="5 latents to move: the model has 4"):
        traversal.moved(Signs(), cases(), 5, 3, 0)
    with pytest.raises(UserError, match="image 60: allowed: a whole number from 0 to 59"):
        traversal.moved(Signs(), cases(), 2, 3, 0, around=60)
    with pytest.raises(UserError, match="two cases at least"):
        traversal.moved(Signs(), cases(1), 2, 3, 0)

    net = models.build({"name": "sbn", "dims": [4]}, DataInfo(torch.full((4,), 0.5)))
    with pytest.raises(UserError, match="model=sbn has no Gaussian latents of images"):
        traversal.moved(net, cases(), 2, 3, 0)

    grey = GaussianVAE(DataInfo(np.full(4, 0.5), Kind.INTENSITY), 2, [3], likelihood="gaussian")
    with pytest.raises(
        UserError, match="model=gaussian_vae has no Gaussian latents of images of zeros and ones"
    ):
        traversal.moved(grey, cases(), 2, 3, 0)
    assert traversal.moved(grey, cases(), 2, 3, 0, means=True).images.shape == (2, 3, 4)
