"""Matrix products in compiled steps, by the library that is faster on this processor.

See ``products`` for the libraries. The compiler leaves products to MKL. If oneDNN is faster, a pass
over the compiled graph hands it the large products. That pass comes last, so gradients need no
care: their products are in the graph already.
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
    """Multiply every pair of ``a`` (count, rows, n) and ``b`` (count, n, m) by oneDNN.

    Returns:
        The products, (count, rows, m).
    """
    if len(a) == 1:
        return products.by_one_dnn(a[0], b[0].mT).unsqueeze(0)
    return torch.stack([products.by_one_dnn(x, y.mT) for x, y in zip(a, b, strict=True)])


def _shape(a: Tensor, b: Tensor) -> Tensor:
    """Return an empty result: while it traces, the compiler needs only its shape and dtype."""
    return a.new_empty(a.shape[0], a.shape[1], b.shape[2])


_library.impl("products", one_by_one, "CPU")
_library.impl("products", _shape, "Meta")


class ToOneDNN(CustomGraphPass):
    """A pass that hands the large float32 products of a compiled graph to oneDNN."""

    def __call__(self, graph: Graph) -> None:
        for node in graph.find_nodes(op="call_function", target=torch.ops.aten.bmm.default):
            if large(node):
                node.target = torch.ops.vaebench.products.default

    def uuid(self) -> Any:
        """Return the compiler's key for stored programs: a change of this file changes it."""
        return get_hash_for_files((__file__, str(products.__file__)))


def large(node: Node) -> bool:
    """Whether oneDNN saves time for a product of a graph.

    It does for float32 on a CPU, from ``products.WORTH`` multiplications on.
    """
    # The values are the compiler's stand-ins for tensors: (count, rows, n) and (count, n, m).
    # oneDNN is called once for every pair, so a single pair must be worth it.
    a, b = (arg.meta["val"] for arg in node.args if isinstance(arg, Node))
    multiplications = a.shape[1] * b.shape[1] * b.shape[2]
    return a.dtype == torch.float32 and a.device.type == "cpu" and multiplications >= products.WORTH


def options() -> dict[str, Any]:
    """Return the options of ``torch.compile`` for products on this machine."""
    return {"post_grad_custom_post_pass": ToOneDNN()} if products.one_dnn() else {}
