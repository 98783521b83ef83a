"""Products without gradient: PyTorch's own in float64 as second implementation, and what happens
without oneDNN."""

from __future__ import annotations

import pytest
import torch

from vaebench.nn import products, second_order


def draw(rows, n, m, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(*shape, generator=generator).to(dtype) for shape in ((rows, n), (m, n)))


@pytest.fixture(params=["as here", "oneDNN", "MKL"])
def library(request, monkeypatch):
    """Large products by either library, whichever is faster on this processor."""
    if request.param == "oneDNN" and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this PyTorch is built without oneDNN")
    if request.param != "as here":
        monkeypatch.setattr(products, "one_dnn", lambda: request.param == "oneDNN")
    return request.param


@pytest.fixture
def asked_anew(monkeypatch):
    """Clear the answer that ``one_dnn`` keeps, before and after."""
    products.one_dnn.cache_clear()
    yield
    monkeypatch.undo()
    products.one_dnn.cache_clear()


def rounding(a, b):
    """The largest error that a product of float32 may have.

    A sum of n products is rounded n times, each time by a relative 2^-24 at most. As the signs of
    these errors are random, their sum grows with the root of n: sqrt(n) 2^-24 sum |a||b|, here at
    the largest such sum. (The worst case has n in the place of the root.)
    """
    largest = float((a.abs().double() @ b.abs().double().mT).max())
    return a.shape[1] ** 0.5 * 2.0**-24 * largest


def of_fewer_bits(v, bits):
    """float32 numbers rounded to significands of ``bits`` bits, the leading one included."""
    significand, exponent = torch.frexp(v)
    return torch.ldexp((significand * 2**bits).round() / 2**bits, exponent)


SIZES = pytest.mark.parametrize("sizes", [(3, 4, 5), (256, 64, 300), (300, 2000, 64)])


@SIZES
@pytest.mark.parametrize("turned", [False, True])
def test_product_is_that_of_the_matrices(library, sizes, turned):
    """Within the rounding of sums of n terms of float32; also of matrices that lie
    the other way in memory."""
    a, b = draw(*sizes)
    exact = a.double() @ b.double().mT
    bound = rounding(a, b)
    if turned:
        a = a.mT.contiguous().mT
        b = b.mT.contiguous().mT

    torch.testing.assert_close(products.product(a, b).double(), exact, rtol=0, atol=bound)


@SIZES
@pytest.mark.parametrize("bits", [11, 8], ids=["TF32", "bfloat16"])
def test_inputs_of_fewer_bits_exceed_the_bound_of_rounding(sizes, bits):
    """By far, so that the test above would find a library that rounds its inputs."""
    a, b = draw(*sizes)
    exact = a.double() @ b.double().mT
    rounded = of_fewer_bits(a, bits).double() @ of_fewer_bits(b, bits).double().mT

    assert float((rounded - exact).abs().max()) > 10 * rounding(a, b)


def test_with_a_bias(library):
    a, b = draw(256, 64, 300)
    bias = torch.linspace(-3, 3, 300)
    result = products.product(a, b, bias)

    torch.testing.assert_close(
        result.double(), a.double() @ b.double().mT + bias.double(), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("sizes", [(3, 4, 5), (256, 64, 300)])
def test_products_of_pairs(library, sizes):
    pairs = [tuple(draw(*sizes)) for _ in range(3)]

    # Three pairs that differ, so that a mixed-up pair shows.
    a, b = (torch.stack([scale * p[i] for scale, p in enumerate(pairs, start=1)]) for i in range(2))
    out = torch.empty(3, sizes[0], sizes[2])
    products.products(a, b.mT, out)

    torch.testing.assert_close(out.double(), a.double() @ b.double().mT, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "bias", [torch.arange(600.0)[::2], torch.ones(1).expand(300), torch.ones(1)]
)
def test_a_bias_that_lies_otherwise_in_memory(library, bias):
    a, b = draw(256, 64, 300)
    torch.testing.assert_close(products.product(a, b, bias), a @ b.mT + bias, rtol=0, atol=1e-3)


def test_no_pairs():
    out = torch.empty(0, 256, 300)
    products.products(torch.empty(0, 256, 64), torch.empty(0, 64, 300), out)
    assert out.shape == (0, 256, 300)


@pytest.mark.parametrize("which", [(0,), (1,), (0, 1), (2,)])
def test_traced_products_are_pytorchs_own(monkeypatch, which):
    """vmap and the compiler do not know oneDNN's operator, so it must not be called."""
    monkeypatch.setattr(products, "by_one_dnn", lambda *args: pytest.fail("not here"))
    monkeypatch.setattr(products, "one_dnn", lambda: True)
    inputs = [*draw(256, 64, 300), torch.linspace(-3, 3, 300)]

    # The inputs named by ``which`` are mapped over: as they are, and doubled.
    stacked = [torch.stack([v, 2 * v]) if i in which else v for i, v in enumerate(inputs)]
    mapped = torch.vmap(
        products.product, in_dims=tuple(0 if i in which else None for i in range(3))
    )(*stacked)

    # A factor of 2 for each doubled matrix in the product, and for a doubled bias.
    one_by_one = [
        inputs[0] @ inputs[1].mT * c ** len({0, 1} & set(which)) + inputs[2] * c ** (2 in which)
        for c in (1, 2)
    ]

    torch.testing.assert_close(mapped, torch.stack(one_by_one), rtol=0, atol=1e-3)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_gradients_pass_where_they_are_asked_for(library, which):
    inputs = [*draw(256, 64, 300), torch.linspace(-3, 3, 300)]
    inputs[which].requires_grad_()
    gradient = torch.autograd.grad(products.product(*inputs).sin().sum(), inputs[which])[0]
    exact = torch.autograd.grad((inputs[0] @ inputs[1].mT + inputs[2]).sin().sum(), inputs[which])[
        0
    ]

    torch.testing.assert_close(gradient, exact, rtol=1e-3, atol=1e-2)

    with torch.no_grad():
        assert not products.product(*inputs).requires_grad


def test_other_types_are_left_to_pytorch(library):
    a, b = draw(256, 64, 300, torch.float64)
    assert torch.equal(products.product(a, b), a @ b.mT)


def test_large_products_go_to_the_library_that_was_chosen(monkeypatch):
    large_shapes = []
    monkeypatch.setattr(
        products, "by_one_dnn", lambda a, b, bias: large_shapes.append(a.shape) or torch.mm(a, b.mT)
    )
    monkeypatch.setattr(products, "one_dnn", lambda: True)
    products.product(*draw(256, 64, 300))
    # Too small for another library.
    products.product(*draw(2, 64, 300))

    monkeypatch.setattr(products, "one_dnn", lambda: False)
    products.product(*draw(256, 64, 300))

    assert large_shapes == [(256, 64)]


@pytest.mark.parametrize("broken", [RuntimeError("no such operator"), AttributeError("gone"), None])
def test_an_operator_that_is_missing_or_wrong_is_not_used(monkeypatch, asked_anew, broken):
    # The operator raises, or its product is wrong by one.
    def operator(a, b, bias=None):
        if broken:
            raise broken
        return torch.mm(a, b.mT) + 1

    monkeypatch.setattr(products, "_made_by", lambda vendor: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(products, "by_one_dnn", operator)

    assert not products.one_dnn()


def test_processors_of_other_makers_keep_mkl(monkeypatch, asked_anew):
    monkeypatch.setattr(products, "_made_by", lambda vendor: False)
    assert not products.one_dnn()


@pytest.mark.parametrize("sizes", [(6, 4, 5), (256, 64, 300)])
@pytest.mark.parametrize("lead", [(), (2,)])
def test_linear_and_its_gradients(library, sizes, lead):
    """Against PyTorch's own in float64, with leading axes too; without a
    gradient the same value."""
    x, weight = draw(*sizes)
    x = x.view(*lead, -1, sizes[1])
    bias = torch.linspace(-3, 3, sizes[2])
    leaves = [v.clone().requires_grad_() for v in (x, weight, bias)]
    doubles = [v.double().requires_grad_() for v in (x, weight, bias)]
    result = products.linear(*leaves)
    exact = torch.nn.functional.linear(*doubles)

    torch.testing.assert_close(result.double(), exact, rtol=0, atol=1e-4)

    with torch.no_grad():
        assert torch.equal(products.linear(*leaves), result)

    g = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad((result * g).sum(), leaves)
    for gradient, exact_gradient in zip(
        gradients, torch.autograd.grad((exact * g.double()).sum(), doubles), strict=True
    ):
        torch.testing.assert_close(gradient.double(), exact_gradient, rtol=0, atol=1e-3)


def test_linear_has_second_derivatives_where_they_are_wanted(library):
    x, weight = draw(256, 64, 300)
    weight.requires_grad_()
    with second_order.wanted():
        (g,) = torch.autograd.grad(
            products.linear(x, weight, torch.zeros(300)).square().sum(), weight, create_graph=True
        )
        (second,) = torch.autograd.grad(g.sum(), weight)

    # The second derivative of |x w|^2 is 2 x'x, summed over its rows.
    torch.testing.assert_close(second, (2 * x.T @ x).sum(0).expand(300, -1), rtol=1e-3, atol=1e-2)


def test_linear_without_a_bias(library):
    x, weight = draw(256, 64, 300)
    weight.requires_grad_()
    result = products.linear(x, weight)

    torch.testing.assert_close(result, x @ weight.T, rtol=1e-4, atol=1e-4)

    (g,) = torch.autograd.grad(result.sum(), weight)
    torch.testing.assert_close(g, x.sum(0).expand(300, -1), rtol=1e-4, atol=1e-4)


def test_linear_under_a_map_over_seeds(library):
    x, weight = draw(256, 64, 300)
    stacked = torch.stack([weight, 2 * weight])
    bias = torch.zeros(2, 300)
    mapped = torch.func.vmap(products.linear, (None, 0, 0))(x, stacked, bias)

    torch.testing.assert_close(
        mapped, torch.stack([x @ weight.T, 2 * (x @ weight.T)]), rtol=1e-4, atol=1e-4
    )
