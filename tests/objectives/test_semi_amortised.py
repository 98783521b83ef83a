"""Semi-amortised inference: its gradient against differences of the whole
objective, in its three forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.estimators import weights
from vaebench.estimators.posteriors import posteriors
from vaebench.models.image_vae import ImageVAE
from vaebench.models.posterior import Gaussian
from vaebench.models.refinement import Refinement, Steps
from vaebench.models.text_vae import TextVAE
from vaebench.nn.init import initialize
from vaebench.objectives.base import Batch
from vaebench.objectives.semi_amortised import SemiAmortised
from vaebench.rng import noise

BATCH = 5


def image_model(kind: torch.dtype = torch.float64) -> ImageVAE:
    model = ImageVAE(
        DataInfo(np.full(12, 0.4), shape=(3, 4)),
        latents=2,
        channels=4,
        kernels=(3, 3, 3),
        encoder_channels=(4,),
        features=4,
    )
    initialize(model, torch.Generator().manual_seed(0))
    return model.to(kind)


def text_model(kind: torch.dtype = torch.float64) -> TextVAE:
    model = TextVAE(
        DataInfo(np.full(600, 1 / 600), kind=Kind.TOKENS), latents=2, embedding=3, units=4
    )
    initialize(model, torch.Generator().manual_seed(0), "text", 0.5, embedding_scale=1.0)
    return model.to(kind)


def images() -> Tensor:
    return (torch.rand(BATCH, 12, generator=torch.Generator().manual_seed(1)) < 0.4).double()


def documents() -> Tensor:
    """Token numbers: <s> 1, words, </s> 2, and padding."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(4, 600, (BATCH, 6), generator=generator)
    rows[:, 0] = 1
    rows[:3, 5] = 2
    rows[3:, 4] = 2
    rows[3:, 5] = 0

    return rows


CASES = {"images": (image_model, images), "documents": (text_model, documents)}


class Step:
    """One step of an objective on fixed data and noise, as a function of its parameters."""

    def __init__(self, what: str, kind: torch.dtype = torch.float64, **settings) -> None:
        model, data = CASES[what]
        self.objective = SemiAmortised(
            model(kind), **{"svi_steps": 4, "kl_weight": 0.7, **settings}
        )
        x = data()
        self.x = x.to(kind) if x.is_floating_point() else x
        self.state = {k: v.to(kind) for k, v in self.objective.state().items()}
        self.noise = {}

        # Noise by the name of what it is for, so that settings do not change it.
        for name, (law, shape) in sorted(self.objective.draws(BATCH, x.shape[1]).items()):
            generator = torch.Generator().manual_seed(sum(map(ord, name)))
            make = torch.randn if law == "normal" else torch.rand
            self.noise[name] = make(shape, generator=generator).to(kind)

    def __call__(self) -> tuple[Tensor, dict, dict]:
        batch = Batch(self.x, update=torch.tensor(0), passes=torch.tensor(1.0))
        return self.objective(self.state, batch, self.noise)

    def gradient(self) -> Tensor:
        """All of it, in one row."""
        parameters = [p for _, p in sorted(self.objective.named_parameters())]
        return torch.cat([g.flatten() for g in torch.autograd.grad(self()[0], parameters)]).double()

    def difference(self, direction: Tensor, r: float) -> float:
        """The central difference of the loss along a direction (of all parameters, in one row)."""
        values = []
        for sign in (1, -1):
            self._move(direction, sign * r)
            values.append(self()[0].item())
            self._move(direction, -sign * r)

        return (values[0] - values[1]) / (2 * r)

    def _move(self, direction: Tensor, r: float) -> None:
        with torch.no_grad():
            start = 0
            for _, p in sorted(self.objective.named_parameters()):
                p.add_(direction[start : start + p.numel()].view(p.shape), alpha=r)
                start += p.numel()


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / a.norm() / b.norm())


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("what", CASES)
def test_the_exact_gradient_is_that_of_the_whole_objective(what, clip):
    """Encoder, steps (clipped in every one, or in none) and decoder:
    against central differences."""
    step = Step(what, svi_clip=clip)
    gradient = step.gradient()
    for seed in range(3):
        direction = torch.randn(
            len(gradient), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )

        assert step.difference(direction, 1e-7) == pytest.approx(
            float(gradient @ direction), rel=1e-5, abs=1e-5
        )


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("what", CASES)
def test_finite_differences_find_the_same_gradient(what, clip):
    exact = Step(what, svi_clip=clip)
    by_differences = Step(what, svi_clip=clip, gradient="finite_difference")

    assert by_differences()[0].item() == pytest.approx(exact()[0].item(), rel=1e-9)

    gradient = by_differences.gradient()
    exact_gradient = exact.gradient()

    # Differences over a finite reach miss a little; in single precision more.
    assert cosine(gradient, exact_gradient) > 0.9999
    assert float(gradient.norm() / exact_gradient.norm()) == pytest.approx(1, abs=0.01)
    assert (
        cosine(
            Step(what, torch.float32, svi_clip=clip, gradient="finite_difference").gradient(),
            exact_gradient,
        )
        > 0.999
    )


def test_the_released_gradient_is_right_only_without_its_clip():
    """In float64: the same while nothing is clipped; another one as soon as the joint
    norm exceeds the clip."""
    exact = Step("images", svi_clip=1e6).gradient()
    assert cosine(Step("images", svi_clip=1e6, gradient="faithful").gradient(), exact) > 0.999999

    clipped = Step("images", svi_clip=0.5).gradient()
    assert cosine(Step("images", svi_clip=0.5, gradient="faithful").gradient(), clipped) < 0.9


def clipped(tensors: list[Tensor], clip: float) -> list[Tensor]:
    norm = torch.stack([(v**2).sum() for v in tensors]).sum().sqrt()
    return [v * min(1.0, clip / (float(norm) + 1e-6)) for v in tensors]


@pytest.mark.parametrize("clip", [0.02, 0.5])
def test_the_released_gradient_has_its_clips_where_it_says(clip):
    """One step, written out: the two gradients at its start are clipped one by one; that a little
    further along, and the change between both, are clipped together with the decoder's."""
    r = 1e-3
    step = Step("images", svi_steps=1, svi_clip=clip, svi_reach=r, gradient="faithful")

    model = step.objective.model
    start = model.encode(step.x, {})
    theta = {n: p for n, p in model.named_parameters() if n.startswith("p.")}

    def slopes(moments: list[Tensor], normal: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        leaves = [v.detach().requires_grad_() for v in moments]
        q = Gaussian(*leaves)
        z = q.sample(1, {"q1": normal})
        loss = (0.7 * q.kl() - model.log_likelihood(step.x, z, None, {})[0]).mean()
        grads = torch.autograd.grad(loss, [*leaves, *theta.values()])

        return list(grads[:2]), list(grads[2:])

    # A first, clipped step from the encoder's posterior; its gradients by the moments of the
    # posterior and by theta.
    step_noise = step.noise["svi0.q1"]
    step_gradient, theta_gradient = slopes(start, step_noise)

    # At least the smaller clip is at work.
    assert max(float(v.norm()) for v in step_gradient) > 0.02

    step_gradient = [clipped([v], clip)[0] for v in step_gradient]
    refined = [v - g for v, g in zip(start, step_gradient, strict=True)]

    to_moments, to_theta = slopes(refined, step.noise["q1"])

    # The same gradients a little further, along what the loss goes back through the step.
    further, theta_further = slopes(
        [v + r * w for v, w in zip(start, to_moments, strict=True)], step_noise
    )
    *further, mean, log_var = clipped([*theta_further, *further], clip)
    theta_changes = [(g - h) / r for g, h in zip(further, theta_gradient, strict=True)]

    # Back to the encoder: the gradient at the end less the change of the step's gradient.
    to_start = clipped(
        [
            v - (g - h) / r
            for v, g, h in zip(to_moments, (mean, log_var), step_gradient, strict=True)
        ],
        clip,
    )

    # The whole gradient, in order of the parameters' names.
    wanted = dict.fromkeys(dict(step.objective.named_parameters()))

    for name, v, change in zip(theta, to_theta, clipped(theta_changes, clip), strict=True):
        wanted[f"model.{name}"] = v - change

    encoder = {f"model.{n}": p for n, p in model.named_parameters() if n.startswith("q.")}
    grads = torch.autograd.grad(start, list(encoder.values()), to_start)
    wanted.update(zip(encoder, grads, strict=True))
    flat = torch.cat([g.flatten() for _, g in sorted(wanted.items())])

    # The weight of the KL is a float32 in the objective.
    torch.testing.assert_close(step.gradient(), flat, rtol=1e-4, atol=1e-7)


def test_without_steps_forward_it_would_be_the_vae():
    """A rate of nearly 0 leaves the encoder's posterior: the loss is that of the
    bound with the same noise."""
    from vaebench.objectives.vae import VAE

    step = Step("images", svi_rate=1e-12)
    plain = VAE(step.objective.model, kl_weight=0.7)
    batch = Batch(step.x, update=torch.tensor(0), passes=torch.tensor(1.0))

    wanted, _, _ = plain(plain.state(), batch, {"q1": step.noise["q1"]})

    assert step()[0].item() == pytest.approx(wanted.item(), rel=1e-9)


def test_refinement_lowers_the_loss():
    """On average over noise that was not used in the steps, and by much for a poor encoder."""
    step = Step("images")
    model = step.objective.model
    x = step.x

    with torch.no_grad():
        start = model.posterior(x)
        model.refinement = Refinement(Steps(10), BATCH)
        refined = model.posterior(x)
        normals = torch.randn(
            2000, BATCH, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64
        )

        def loss(q):
            z = q.sample(2000, {"q1": normals})
            return float((q.kl() - model.score(x, z).mean(0)).mean())

        assert loss(refined) < loss(start) - 0.1


def test_a_refined_posterior_is_one_whatever_asks_for_it():
    """The same every time, of whole batches whatever stands beside them; and no gradient passes."""
    model = image_model()
    generator = torch.Generator().manual_seed(2)
    x = (torch.rand(3 * BATCH, 12, generator=generator) < 0.4).double()

    model.refinement = Refinement(Steps(3), BATCH)
    together = model.posterior(x)

    assert not together.mean.requires_grad

    # Of each batch alone.
    for i in range(3):
        alone = model.posterior(x[i * BATCH : (i + 1) * BATCH])
        torch.testing.assert_close(alone.mean, together.mean[i * BATCH : (i + 1) * BATCH])
        torch.testing.assert_close(alone.log_var, together.log_var[i * BATCH : (i + 1) * BATCH])

    # Without gradients around it, too.
    with torch.no_grad():
        torch.testing.assert_close(model.posterior(x).mean, together.mean, rtol=0, atol=0)

    # It is refined, but not where training asks, which passes batch statistics.
    assert not torch.allclose(together.mean, model.encode(x)[0])
    torch.testing.assert_close(model.posterior(x, {}).mean, model.encode(x, {})[0])


def test_a_refined_posterior_descends_the_whole_kl():
    """One step without a clip, written out: the mean of KL - log p(x | z), the KL in full."""
    model = image_model()
    x = images()
    model.refinement = Refinement(Steps(1, rate=0.3, momentum=0.0, clip=None), BATCH, seed=7)

    # The step written out, with the noise that a refinement with seed 7 draws.
    shape = {"q1": ("normal", (1, BATCH, 2))}
    normal = noise.fixed(shape, 7, "refine", 0)["q1"][0].double()
    mean, log_var = (v.detach().requires_grad_() for v in model.encode(x))
    z = mean + torch.exp(0.5 * log_var) * normal
    kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(-1)
    loss = (kl - model.log_likelihood(x, [z[None]])[0]).mean()
    grads = torch.autograd.grad(loss, [mean, log_var])

    posterior = model.posterior(x)

    torch.testing.assert_close(posterior.mean, mean.detach() - 0.3 * grads[0])
    torch.testing.assert_close(posterior.log_var, log_var.detach() - 0.3 * grads[1])


@pytest.mark.parametrize("what", CASES)
@pytest.mark.parametrize("batch", [BATCH, 64])
def test_a_refined_posterior_does_not_hang_on_the_size_of_a_pass(what, batch, monkeypatch):
    """Of a case in its place it is that of its batch, also where the batch divides
    no grain of the noise."""
    make, data = CASES[what]
    model = make()
    x = data().repeat(26, 1)
    if what == "images":
        x = (torch.rand(x.shape, generator=torch.Generator().manual_seed(4)) < 0.4).double()

    model.refinement = Refinement(Steps(2), batch)
    wanted = torch.cat([model.posterior(part).mean for part in x.split(batch)])
    means = {"alone": posteriors(model, x, 0).mean}

    # In passes of several sizes, and with a limit on tokens that few documents reach.
    for size in (None, 1, 100, 128):
        passes = weights.stream(model, x, 1, 0, batch=size)
        means[str(size)] = torch.cat([part.posterior.mean for part in passes])

    monkeypatch.setitem(weights.TOKENS, "cpu", 300)  # of 50 documents, or of fewer than a batch
    means["few"] = posteriors(model, x, 0).mean

    for name, mean in means.items():
        torch.testing.assert_close(
            mean, wanted, rtol=1e-9, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("wrong", [{"svi_steps": 0}, {"svi_rate": 0}, {"svi_momentum": 1.0},
                                   {"svi_clip": -1}, {"gradient": "exakt"},
                                   {"svi_reach": 0}])  # fmt: skip
def test_bad_settings(wrong):
    with pytest.raises(UserError, match=f"objective.{next(iter(wrong))}="):
        SemiAmortised(image_model(), **wrong)
