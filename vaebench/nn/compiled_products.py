"""Products of matrices in compiled steps, by the faster library.

Whichever that is on this processor (see ``products``). The compiler leaves products to MKL. Where
oneDNN is faster, a pass over the compiled graph gives it those that are large enough: what a
product is of, and how gradients pass, was settled before.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph, Node

from vaebench.nn import products

_library = torch.library.Library("vaebench", "DEF")
_library.define("products(Tensor a, Tensor b) -> Tensor")


def one_by_one(a: Tensor, b: Tensor) -> Tensor:
    """a b of every pair of ``a`` (count, rows, n) and ``b`` (count, n, m).

    (count, rows, m), by oneDNN.
    """
    if len(a) == 1:
        return products.by_one_dnn(a[0], b[0].mT).unsqueeze(0)
    return torch.stack([products.by_one_dnn(x, y.mT) for x, y in zip(a, b, strict=True)])


def _shape(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], a.shape[1], b.shape[2])


_library.impl("products", one_by_one, "CPU")
_library.impl("products", _shape, "Meta")


class ToOneDNN(CustomGraphPass):
    """Hands the large float32 products of a compiled graph to oneDNN."""

    def __call__(self, graph: Graph) -> None:
        for node in graph.find_nodes(op="call_function", target=torch.ops.aten.bmm.default):
            if large(node):
                node.target = torch.ops.vaebench.products.default

    def uuid(self) -> Any:
        """By which the compiler keeps programs: they are others where this file is another."""
        return get_hash_for_files((__file__, str(products.__file__)))


def large(node: Node) -> bool:
    """Whether a product of a graph pays with oneDNN.

    float32 on a CPU, and ``products.WORTH`` multiplications.
    """
    a, b = (arg.meta["val"] for arg in node.args if isinstance(arg, Node))
    multiplications = a.shape[1] * b.shape[1] * b.shape[2]
    return a.dtype == torch.float32 and a.device.type == "cpu" and multiplications >= products.WORTH


def options() -> dict[str, Any]:
    """What ``torch.compile`` is told of products on this machine."""
    return {"post_grad_custom_post_pass": ToOneDNN()} if products.one_dnn() else {}
