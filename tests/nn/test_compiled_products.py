"""Products of compiled steps by oneDNN."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from vaebench.nn import compiled_products, products

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no oneDNN")


def draw(count, rows, inner, columns):
    g = torch.Generator().manual_seed(0)
    return torch.randn(count, rows, inner, generator=g), torch.randn(
        count, inner, columns, generator=g
    )


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True)])
def test_the_operator_is_the_product(count, turned):
    a, b = draw(count, 40, 30, 50)
    a = a.mT.contiguous().mT if turned[0] else a
    b = b.mT.contiguous().mT if turned[1] else b
    product = torch.ops.vaebench.products(a, b)

    torch.testing.assert_close(product, torch.bmm(a, b), rtol=1e-4, atol=1e-4)
    assert product.is_contiguous()

    # What the compiler is told of the result, without computing it.
    meta = torch.ops.vaebench.products(a.to("meta"), b.to("meta"))
    assert meta.shape == product.shape
    assert meta.stride() == product.stride()


def targets(graph):
    return [str(node.target) for node in graph.nodes if node.op == "call_function"]


def traced(*given):
    return make_fx(lambda a, b: torch.bmm(a, b) + 1, tracing_mode="fake")(*given).graph


def test_large_products_alone_are_handed_over():
    large = traced(*draw(2, 64, 256, 300))
    small = traced(*draw(2, 4, 8, 5))
    double = traced(*(v.double() for v in draw(2, 64, 256, 300)))
    for graph in (large, small, double):
        compiled_products.ToOneDNN()(graph)

    assert targets(large) == ["vaebench.products.default", "aten.add.Tensor"]
    assert targets(small) == targets(double) == ["aten.bmm.default", "aten.add.Tensor"]


def test_a_graph_that_was_changed_gives_the_same():
    a, b = draw(2, 64, 256, 300)
    module = make_fx(lambda a, b: torch.bmm(a, b) + 1)(a, b)
    compiled_products.ToOneDNN()(module.graph)
    module.recompile()

    torch.testing.assert_close(module(a, b), torch.bmm(a, b) + 1, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("faster", "passes"), [(True, 1), (False, 0)])
def test_the_pass_is_taken_where_the_library_is_faster(monkeypatch, faster, passes):
    monkeypatch.setattr(products, "one_dnn", lambda: faster)
    assert len(compiled_products.options()) == passes
