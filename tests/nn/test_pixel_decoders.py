"""Decoders of images: what a pixel depends on, that their densities sum to one,
and the published sizes."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from vaebench.dists import bernoulli
from vaebench.nn.batch_norm import name_norms
from vaebench.nn.gated_pixel_decoder import GatedLayer, GatedPixelDecoder
from vaebench.nn.init import initialize
from vaebench.nn.masked_conv import MaskedConv
from vaebench.nn.pixel_decoder import PixelDecoder
from vaebench.nn.resnet import ResNet

NETS = [PixelDecoder, GatedPixelDecoder]
SMALL = {"channels": 4, "kernels": (5, 3, 3, 3)}


def started(module: nn.Module, seed: int = 0) -> nn.Module:
    """With initial parameters, and running averages that are not those of a start."""
    name_norms(module)
    generator = torch.Generator().manual_seed(seed)
    initialize(module, generator)

    with torch.no_grad():
        for name, v in module.named_buffers():
            if name.endswith(".variance"):
                v.uniform_(0.5, 2.0, generator=generator)
            elif name.endswith(".mean"):
                v.normal_(generator=generator)

    return module


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def codes(latents: int, rows: int, seed: int = 1) -> torch.Tensor | None:
    if not latents:
        return None
    return torch.randn(1, rows, latents, generator=torch.Generator().manual_seed(seed))


def test_published_sizes():
    """He et al.'s networks for 28x28 and 32 latents: the number of parameters, and how many of the
    decoder's the masks switch off."""
    decoder = PixelDecoder((28, 28), 32)
    assert parameters(ResNet((28, 28), 64, (64, 64, 64), 512)) == 752_448
    assert parameters(decoder) == 894_400
    assert parameters(PixelDecoder((28, 28), 0)) == 778_368

    # Taps that the mask sets to zero, of the inputs that are masked at all.
    masked = 0
    for layer in decoder.modules():
        if isinstance(layer, MaskedConv):
            size = layer.weight.shape[-1]
            masked += layer.weight.shape[0] * layer.inputs * (size**2 - int(layer.mask.sum()))

    assert masked == 325_184


@pytest.mark.parametrize("latents", [0, 3])
@pytest.mark.parametrize("net", NETS)
def test_no_pixel_depends_on_itself_or_on_later_ones(net, latents):
    """By the derivative, for every pixel of a 6x5 image; in float64, so that a zero is one."""
    decoder = started(net((6, 5), latents, **SMALL)).double()
    x = torch.rand(
        1, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    ).requires_grad_()
    z = codes(latents, 1)
    out = decoder(x, None if z is None else z.double())[0, 0]

    for pixel in range(30):
        (grad,) = torch.autograd.grad(out[pixel], x, retain_graph=True)
        assert (grad[0, pixel:] == 0).all(), pixel


@pytest.mark.parametrize("latents", [0, 3])
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("shape", [(2, 2), (2, 3)])
def test_sums_to_one(net, shape, latents):
    """Over all images, and given any code."""
    pixels = shape[0] * shape[1]
    decoder = started(net(shape, latents, **SMALL)).double()
    x = torch.tensor(list(itertools.product([0.0, 1.0], repeat=pixels)), dtype=torch.float64)
    z = codes(latents, 1)

    with torch.no_grad():
        logits = decoder(x, None if z is None else z.double().expand(1, len(x), latents))
        total = torch.logsumexp(bernoulli.log_prob(x, logits)[0], 0)

    assert abs(float(total)) < 1e-12


def seen_by(net: nn.Module, pixel: int, width: int) -> int:
    """How many pixels a conditional depends on."""
    height = 28
    x = torch.rand(1, height * width, generator=torch.Generator().manual_seed(3)).requires_grad_()
    (grad,) = torch.autograd.grad(net(x)[0, 0, pixel], x)
    return int((grad != 0).sum())


def test_blind_spot():
    """Row 20, column 10 of 28x28 has 570 pixels before it: the published net sees 530 of them, the
    gated one all."""
    pixel = 20 * 28 + 10
    assert seen_by(started(PixelDecoder((28, 28), 0)), pixel, 28) == 530
    assert seen_by(started(GatedPixelDecoder((28, 28), 0)), pixel, 28) == 570


def test_skips_of_the_published_net():
    """Before block 3 a skip of block 0 is added to the trunk, and so on. After the last block a
    skip of the block two before it is added."""
    net = started(PixelDecoder((4, 4), 0, channels=4, kernels=(3,) * 6))
    trunks = []
    skipped = []

    # Every module notes its input and its output while one batch passes through.
    for i, module in enumerate(net.blocks):
        module.register_forward_hook(
            lambda _, block_input, out, i=i: trunks.append((i + 1, block_input[0], out))
        )

    for i, module in enumerate(net.skips):
        module.register_forward_hook(
            lambda _, block_input, out, i=i: skipped.append((i, block_input[0], out))
        )

    with torch.no_grad():
        trunk = net.hidden(net.image_part(torch.rand(2, 16)))

    outputs = {number: out for number, _, out in trunks}
    inputs = {number: block_input for number, block_input, _ in trunks}

    assert len(skipped) == len(net.blocks) - 1 == 4

    # Skip i reads what block i put out, and is added to the trunk before block i + 3.
    for i, block_input, out in skipped[:-1]:
        # Of block 0 the input of block 1 is the output.
        if i > 0:
            torch.testing.assert_close(block_input, outputs[i])
        else:
            torch.testing.assert_close(block_input, inputs[1])
        torch.testing.assert_close(inputs[i + 3], outputs[i + 2] + out)

    # The last skip reads the block two before the last one, and is added to what the last one put
    # out.
    _, block_input, out = skipped[-1]
    torch.testing.assert_close(block_input, outputs[3])
    torch.testing.assert_close(trunk, outputs[5] + out)


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("centre", [False, True])
def test_masked_convolution_as_by_a_whole_filter(kernel, centre):
    """Values and gradients equal those of the whole filter times its mask. Masked taps have no
    gradient."""
    generator = torch.Generator().manual_seed(4)
    layer = MaskedConv(3, 2, kernel, centre, free=2).double()
    with torch.no_grad():
        layer.weight.normal_(generator=generator)
    x = torch.randn(2, 5, 6, 6, dtype=torch.float64, generator=generator)

    # Pixels above and to the left are seen, and the centre if asked for.
    mask = torch.ones(kernel, kernel)
    middle = kernel // 2
    mask[middle, middle + centre :] = 0
    mask[middle + 1 :] = 0

    # The first three inputs are masked, the other two are free.
    full_mask = torch.ones_like(layer.weight)
    full_mask[:, :3] = mask
    by_whole_filter = nn.functional.conv2d(x, layer.weight * full_mask, padding=middle)

    torch.testing.assert_close(layer(x), by_whole_filter)

    weights = torch.randn(by_whole_filter.shape, dtype=torch.float64, generator=generator)
    (gradient,) = torch.autograd.grad((layer(x) * weights).sum(), layer.weight)
    (exact_gradient,) = torch.autograd.grad((by_whole_filter * weights).sum(), layer.weight)

    torch.testing.assert_close(gradient, exact_gradient)
    assert (gradient[full_mask == 0] == 0).all()


def test_filters_of_even_size_have_no_centre():
    for make in (lambda: MaskedConv(1, 1, 4, True), lambda: GatedLayer(1, 1, 4)):
        with pytest.raises(ValueError, match="odd"):
            make()


@pytest.mark.parametrize("net", NETS)
def test_codes_and_examples_keep_apart(net):
    """Logits (k, batch, d) of k codes are those of each code alone: nothing
    is mixed between rows."""
    decoder = started(net((3, 4), 2, **SMALL)).double()
    generator = torch.Generator().manual_seed(6)
    x = torch.rand(5, 12, dtype=torch.float64, generator=generator)
    z = torch.randn(3, 5, 2, dtype=torch.float64, generator=generator)

    with torch.no_grad():
        together = decoder(x, z)
        for k, row in itertools.product(range(3), range(5)):
            alone = decoder(x[row : row + 1], z[k : k + 1, row : row + 1])
            torch.testing.assert_close(together[k, row], alone[0, 0])


def test_filters_start_by_their_taps_and_outputs():
    """N(0, 2 / (taps outputs)), whatever the inputs: each sd within 4.2 of its errors, of which one
    of six fails by chance in one of 6,000 seeds."""
    masked = MaskedConv(16, 64, 5, centre=True)
    gated = GatedLayer(16, 32, 5)
    net = ResNet((8, 8), 4, (64,), 64)

    # The taps of each filter, masked ones included, and its outputs.
    taps = {
        masked.weight: (25, 64),
        gated.vertical: (3 * 5, 64),
        gated.horizontal: (3, 64),
        gated.across.weight: (1, 64),
        net.blocks[0].second.weight: (9, 64),
        net.last: (16, 64),
    }
    for part in (masked, gated, net):
        initialize(nn.ModuleDict({"part": part}), torch.Generator().manual_seed(0))

    for weight, (size, outputs) in taps.items():
        scaled = weight.detach() * (size * outputs / 2) ** 0.5
        assert float(scaled.std()) == pytest.approx(1.0, abs=4.2 / (2 * scaled.numel()) ** 0.5), (
            tuple(weight.shape)
        )

    # Glorot's uniform: none of 256 weights is in the outer tenth once in 10^11 seeds.
    half_width = (6 / (64 + 4)) ** 0.5
    assert 0.9 * half_width < float(net.output.weight.detach().abs().max()) <= half_width
    assert not net.output.bias.detach().any()
