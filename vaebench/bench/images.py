"""Speed of models of images.

This file measures the milliseconds of an update of 50 images, and of the NLL of one image. It
measures the same for these networks written directly in PyTorch, and their convolutions alone. The
sizes are those of He et al. (2019): a residual encoder, a decoder of 24 blocks of masked
convolutions, images of 28x28.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench import kernels, models, objectives
from vaebench.bench.packs import Record, advance, in_turns, pack_of
from vaebench.data.info import DataInfo
from vaebench.models.base import ExactModel, GaussianPosterior
from vaebench.nn.masked_conv import mask_of
from vaebench.nn.pixel_decoder import KERNELS
from vaebench.nn.resnet import ResNet
from vaebench.training import engines as fast

BATCH = 50
SIDE = 28
LATENTS = 32
SAMPLES = 500

AT_ONCE = 100
"""Samples of an image that the plain PyTorch code scores together."""

FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "image VAE, OMNIGLOT": ({"name": "image_vae"}, {"name": "vae"}),
    "PixelCNN, OMNIGLOT": ({"name": "pixel_cnn"}, {"name": "likelihood"}),
}
"""Name -> model and objective."""


class Masked(nn.Conv2d):
    """A convolution whose whole filter is multiplied with a mask.

    In the first layer the mask covers the image alone, not the channels of the code.
    """

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, first: bool) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        # In the first layer, inputs after the image's channel are those of the code, all of which
        # may be seen at every pixel.
        mask = torch.ones_like(self.weight)
        mask[:, : 1 if first else inputs] = mask_of(kernel, not first)
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.mask, padding="same")


class Block(nn.Module):
    """A residual block of the decoder, layer by layer."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        inner = channels // 2
        self.layers = nn.Sequential(
            *(nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ELU()),
            *(Masked(inner, inner, kernel, False), nn.BatchNorm2d(inner), nn.ELU()),
            *(nn.Conv2d(inner, channels, 1, bias=False), nn.BatchNorm2d(channels)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(x + self.layers(x))


class Literal(nn.Module):
    """The VAE in PyTorch's own layers, or PixelCNN if ``latents`` is 0."""

    def __init__(self, latents: int, channels: int = 64) -> None:
        super().__init__()
        # A code becomes ``maps`` channels of the size of the image, which the first layer reads
        # beside the image.
        maps = 4 if latents else 0
        self.maps = maps
        self.encoder = ResNet((SIDE, SIDE), 2 * latents, (64, 64, 64), 512) if latents else None
        self.code = nn.Linear(latents, maps * SIDE * SIDE) if latents else None
        self.first = nn.Sequential(
            Masked(1 + maps, channels, 7, True), nn.BatchNorm2d(channels), nn.ELU()
        )
        self.blocks = nn.ModuleList([Block(channels, k) for k in KERNELS[1:]])
        self.skips = nn.ModuleList([Block(channels, k) for k in KERNELS[1:-1]])
        self.head = nn.Sequential(
            *(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ELU()),
            nn.Conv2d(channels, 1, 1, bias=False),
        )

    def decode(self, x: Tensor, z: Tensor | None) -> Tensor:
        """Return logits (rows, 784) of images (rows, 784) given codes (rows, latents)."""
        hidden = x.view(-1, 1, SIDE, SIDE)
        if z is not None and self.code is not None:
            hidden = torch.cat([hidden, self.code(z).view(-1, self.maps, SIDE, SIDE)], 1)
        hidden = self.first(hidden)

        # The outputs of the first layer, number 0, and of the blocks. From the third block on, the
        # input of block i is the trunk plus a skip block of output i - 3.
        outputs = [hidden]
        for i, block in enumerate(self.blocks):
            if i >= 2:
                hidden = hidden + self.skips[i - 2](outputs[i - 2])
            hidden = block(hidden)
            outputs.append(hidden)

        hidden = hidden + self.skips[-1](outputs[len(self.skips) - 1])
        return self.head(hidden).flatten(1)

    def loss(self, x: Tensor) -> Tensor:
        """Return the loss that an update descends, ()."""
        if self.encoder is None:
            return F.binary_cross_entropy_with_logits(
                self.decode(x, None), x, reduction="sum"
            ) / len(x)

        # Minus the ELBO with one sample; the KL to N(0, I) in closed form.
        mean, log_var = self.encoder(x.view(-1, 1, SIDE, SIDE), {}).chunk(2, -1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1)
        nll = F.binary_cross_entropy_with_logits(self.decode(x, z), x, reduction="none").sum(-1)
        return (nll + kl).mean()

    def update(self, x: Tensor, number: int) -> None:
        """Compute the gradient of the loss."""
        torch.autograd.grad(self.loss(x), list(self.parameters()))

    @torch.no_grad()
    def score(self, x: Tensor, number: int) -> None:
        """Compute the NLL of one image (1, 784).

        It is exact without latents, else by ``SAMPLES`` samples, ``AT_ONCE`` of them together.
        """
        if self.encoder is None:
            self.decode(x, None)
            return

        for _ in range(0, SAMPLES, AT_ONCE):
            self.decode(x.expand(AT_ONCE, -1), torch.randn(AT_ONCE, LATENTS, device=x.device))


def images(count: int) -> Tensor:
    """Return random images (count, 784), uint8, as dense as those of MNIST."""
    return torch.from_numpy(
        (np.random.default_rng(0).random((count, SIDE * SIDE)) < 0.13).astype(np.uint8)
    )


def make_pack(
    model: dict[str, Any],
    objective: dict[str, Any],
    engine: str,
    precision: str,
    device: torch.device,
) -> fast.Pack:
    """Return a pack of one seed, initialised as in the paper, on ten batches of images."""
    info = DataInfo(np.full(SIDE * SIDE, 0.13), shape=(SIDE, SIDE))
    rule = objectives.build(objective, models.build(model, info))
    descent = {"name": "clipped_adam", "rate": 1e-3}
    start = {"init": "glorot", "init_scale": 0.1}
    return pack_of(
        rule, images(10 * BATCH), descent, start, device, engine=engine, precision=precision
    )


def scored(pack: fast.Pack, number: int = 0) -> None:
    """Compute the NLL of the pack's first image, as an evaluation does."""
    model = pack.objective.model
    x = pack.data[:1].float()
    if isinstance(model, ExactModel):
        model.score(x)
        return
    if not isinstance(model, GaussianPosterior):
        raise TypeError(f"{type(model).__name__} has no codes")

    z = torch.randn(SAMPLES, 1, LATENTS, device=x.device)
    model.score(x, [z])


def convolutions(model: Literal, x: Tensor) -> float:
    """Return the milliseconds of the convolutions alone, in one pass forwards and backwards.

    The filters are whole, and the layers are timed one after the other.
    """
    layers: list[tuple[nn.Conv2d, torch.Size]] = []

    def record_shape(layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            layers.append((layer, inputs[0].shape))

    # One pass through the model tells the shape of each convolution's input.
    hooks = [
        layer.register_forward_hook(record_shape)
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    model.loss(x)
    for hook in hooks:
        hook.remove()

    total = 0.0
    for layer, shape in layers:
        # Channels last, the layout that the models of this package use.
        inputs = torch.randn(shape).contiguous(memory_format=torch.channels_last).requires_grad_()
        weight = (
            layer.weight.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
        )
        out = F.conv2d(inputs, weight, padding=layer.padding)
        grad = torch.ones_like(out)

        total += milliseconds(
            partial(_there_and_back, inputs, weight, grad, layer.padding), 0.0, x.device
        )
    return total


def _there_and_back(
    inputs: Tensor, weight: Tensor, grad: Tensor, padding: str | tuple[int, ...], number: int
) -> None:
    torch.autograd.grad(F.conv2d(inputs, weight, padding=padding), (inputs, weight), grad)


def milliseconds(work: Callable[[int], None], seconds: float, device: torch.device) -> float:
    """Return the milliseconds of one call, the least of some."""
    (times,) = in_turns([work], seconds, device)
    return 1e3 * min(times)


def run(
    families: dict[str, Any],
    device: torch.device,
    seconds: float,
    record: Record = lambda _: None,
) -> Iterator[str]:
    """Yield a heading and two lines per family: an update, and an image."""
    on_cpu = device.type == "cpu"
    # (engine, precision): all in float32, and the last of them, the kernels if there are any, in
    # bfloat16 too.
    engines = [("plain", "float32")]
    if on_cpu and not kernels.missing():
        engines.append(("kernel", "float32"))
    engines.append((engines[-1][0], "bfloat16"))

    yield (
        f"milliseconds per update of {BATCH} images, and per image of its NLL: "
        f"{SAMPLES} samples, or exact"
    )
    yield (
        "literal: the same networks in PyTorch's own layers. convolutions: these "
        "alone. x: of literal's"
    )
    labels = [
        engine if precision == "float32" else f"{engine} {precision}"
        for engine, precision in engines
    ]
    heads = ["literal", *labels, *(["convolutions"] if on_cpu else [])]
    yield f"{'':42}" + "".join(f"{h:>24}" for h in heads)

    for name, (model, objective) in families.items():
        literal = Literal(LATENTS if model["name"] == "image_vae" else 0).to(device)
        x = images(BATCH).float().to(device)

        # ``Literal`` has this package's encoder, so its kernels are switched off. Scoring uses the
        # running statistics of batch normalisation.
        with kernels.use(False):
            step = milliseconds(partial(literal.update, x), seconds, device)
            literal.eval()
            score = milliseconds(partial(literal.score, x[:1]), seconds, device)
            literal.train()
        numbers = {"update literal": step, "image literal": score}

        # A pack has its precision for training; scoring gets the same by autocast.
        for label, (engine, precision) in zip(labels, engines, strict=True):
            pack = make_pack(model, objective, engine, precision, device)
            numbers[f"update {label}"] = milliseconds(
                partial(advance, pack, length=1, batch=BATCH), seconds, device
            )
            with (
                kernels.use(engine == "kernel"),
                torch.autocast(device.type, torch.bfloat16, precision != "float32"),
            ):
                numbers[f"image {label}"] = milliseconds(partial(scored, pack), seconds, device)
        if on_cpu:
            numbers["update convolutions"] = convolutions(literal, x)

        # "-" if there is no number: convolutions are timed for an update on the CPU alone.
        record({"family": name, "unit": "ms", **numbers})
        for work_name in ("update", "image"):
            cells = []
            for head in heads:
                value = numbers.get(f"{work_name} {head}")
                ratio = (
                    ""
                    if head == "literal" or value is None
                    else f" (x{value / numbers[f'{work_name} literal']:.2f})"
                )
                cells.append("-" if value is None else f"{value:,.0f}{ratio}")
            yield f"{f'{name}, {work_name}':42}" + "".join(f"{c:>24}" for c in cells)
