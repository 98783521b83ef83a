"""docs/python.md tells the truth: its examples run, one after the other, offline."""

from __future__ import annotations

import re

import pytest
import torch
from kit.repository import ROOT

import vaebench

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """All names that the examples of the page have made, run one after the other in an empty
    folder."""
    namespace: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        patch.delenv("VAEBENCH_MIRROR", raising=False)
        patch.setenv("VAEBENCH_DATA", "data")
        for number, example in enumerate(EXAMPLES, start=1):
            exec(compile(example, f"example {number} of docs/python.md", "exec"), namespace)

    return namespace


def test_the_numbers_are_what_the_page_says(names):
    assert len(EXAMPLES) == 10
    assert names["titles"].keys() > {"nvil_mnist"}
    assert names["bounds"].loc["SBN 200", "NVIL"] > 100
    assert set(names["results"]["seed"]) == {0, 1}
    assert set(names["results"]["status"]) == {"done"}
    assert set(names["trained"]["status"]) == {"trained"}
    assert set(names["evaluated"]["status"]) == {"done"}
    assert "SBN 200" in names["page"]
    assert "SBN 500" not in names["page"]
    assert list(names["curve"]["update"]) == [100, 200]
    assert names["images"].shape == names["again"].shape == (4, 64)
    assert {"bound", "iw_nll"} <= {m.name for m in names["measures"]}
    assert -names["bound"] > names["iw"].nll > 0


def test_estimates_agree_with_exact_answers(names):
    exact = names["exact"]
    tiny = names["tiny"]
    data = names["data"]
    iw = vaebench.estimators.importance(tiny, data.test[:20], samples=500, seed=0)

    assert iw.nll == pytest.approx(-float(exact.detach().mean()), abs=5 * iw.error)

    estimate = names["log_z"]
    exact_log_z = names["known"]

    assert float(estimate.value) == pytest.approx(
        float(exact_log_z.value), abs=5 * float(estimate.error) + 1e-6
    )


def test_the_exported_model_is_the_run_s(names):
    run = names["run"]
    module = names["module"]
    same = names["same"]

    assert all(torch.equal(v, run.model.state_dict()[k]) for k, v in names["state"].items())
    assert all(torch.equal(v, same.state_dict()[k]) for k, v in module.state_dict().items())
    assert all(p.requires_grad for p in (*module.parameters(), *same.parameters()))
    assert not any(p.requires_grad for p in run.model.parameters())


def test_the_page_is_linked_and_names_everything():
    assert "docs/python.md" in (ROOT / "README.md").read_text(encoding="utf-8")

    named = set(re.findall(r"^\| `vb\.(\w+)", PAGE, re.M))
    assert named == {*vaebench.__all__, "__version__"}


def test_the_programs_are_the_model_s(names):
    assert set(names["files"]) == {"encoder", "decoder", "sample"}
    assert names["logits"].shape == names["drawn"].shape == (5, 64)
    assert set(names["drawn"].unique().tolist()) <= {0.0, 1.0}
