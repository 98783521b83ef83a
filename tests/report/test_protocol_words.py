"""What a report says about a number that was not evaluated as in the paper; errors of which a part
is unknown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vaebench.config.catalogue import load_preset, load_table
from vaebench.config.compose import cells
from vaebench.protocol.protocol import UNKNOWN, Protocol
from vaebench.protocol.signature import samples_of, signature
from vaebench.report.protocol import WORDS, differing
from vaebench.report.select import Estimate


def made(table, row, column, preset="paper", *overrides):
    """Return the signature of a cell's measure, as it is stored, and that of the paper's own."""
    (cell,) = cells(table, load_preset(preset), overrides, [f"row={row}", f"column={column}"])
    ours = signature(cell.config, cell.measure, samples_of(cell.config, cell.measure), "8f3a12cd")
    return ours, Protocol(cell.paper_signature)


GIBBS = ("s=5", "t=2")


def parts(table, row, column):
    """Return the parts of the paper's signature that a report may name."""
    paper_parts = made(table, row, column, "short")[1].parts
    return {name: value for name, value in paper_parts.items() if name in WORDS}


def test_a_cell_has_the_papers_signature_whatever_its_own_evaluation():
    # ``parts`` composes the cell by the preset short, whose evaluation may be smaller.
    assert parts(load_table("dvae_sharp_sharp_gibbs"), *GIBBS) == {
        "data": "mnist_static",
        "split": "test",
        "points": "all",
        "samples": "4000",
        "logz": "ais-10000x1024",
        "posterior": "ais-500x4000",
    }

    table = load_table("dvae_sharp_sharp_mcmc")
    assert parts(table, "MCMC", "test") == {
        "data": "mnist_static",
        "split": "test",
        "points": "all",
    }


def test_settings_of_a_column_and_of_an_entry_count():
    """Row, column, then what stands in the one entry; a measure on the validation cases
    has a split of its own."""
    table = load_table("nvil_mnist")
    row = replace(
        table.rows["SBN 200"], entries={"NVIL": ("eval.points=7", "eval.bound_samples=3")}
    )
    table = replace(table, rows={**table.rows, "SBN 200": row})
    seven_cases = {"data": "mnist_static", "split": "test", "points": "7", "samples": "3"}

    assert parts(table, "SBN 200", "NVIL") == seven_cases
    assert parts(table, "SBN 200", "WS")["points"] == "all"

    validation = replace(table, measure="valid_bound", base=(*table.base, "train.valid_samples=7"))
    assert parts(validation, "SBN 200", "NVIL") == {
        **seven_cases,
        "split": "valid",
        "points": "all",
        "samples": "7",
    }


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], ""),
        (["eval.logz_temperatures=1000"], "log Z ais-1000x1024, not ais-10000x1024"),
        (
            ["eval.logz_method=tempering", "eval.logz_sweeps=70"],
            "log Z tempering-70x1024, not ais-10000x1024",
        ),
        (["eval.posterior_temperatures=9"], "log Z of the posteriors ais-9x4000, not ais-500x4000"),
        (
            ["model.latents=20", "eval.points=5"],
            "test cases 5, not all; log Z exact, not ais-10000x1024",
        ),
    ],
)
def test_log_z_is_named_where_it_differs(overrides, words):
    table = load_table("dvae_sharp_sharp_gibbs")
    assert differing(*made(table, *GIBBS, "paper", *overrides)) == words


def test_a_shorter_evaluation_is_told_in_full():
    table = load_table("dvae_sharp_sharp_gibbs")
    assert differing(*made(table, *GIBBS, "short")) == (
        "test cases 500, not all; samples per case 500, not 4000; log Z ais-1000x512, not "
        "ais-10000x1024; log Z of the posteriors ais-100x500, not ais-500x4000"
    )


@pytest.mark.parametrize(
    ("row", "overrides", "words"),
    [
        ("SA-VAE", [], ""),
        ("SA-VAE", ["objective.svi_steps=3"], "steps of refinement 3, not 10"),
        ("SA-VAE", ["objective.svi_rate=0.1", "objective.svi_clip=null"],
         "steps of refinement 10,svi_rate=0.1,svi_clip=null, not 10"),
        ("SA-VAE", ["train.batch=20"], "cases refined together 20, not 50"),
        ("VAE", ["train.batch=20"], ""),
        ("SA-VAE", ["objective=vae"], "steps of refinement none, not 10"),
        ("VAE", ["objective=semi_amortised"], "steps of refinement 10, not none"),
    ],
)  # fmt: skip
def test_a_refined_posterior_is_told_from_others(row, overrides, words):
    assert differing(*made(load_table("lagging_omniglot"), row, "IW", "paper", *overrides)) == words


def test_a_likelihood_in_bfloat16_is_told_from_others():
    table = load_table("lagging_omniglot")
    words_by_column = {
        c: differing(*made(table, "VAE", c, "paper", "eval.precision=bfloat16"))
        for c in ("IW", "-ELBO", "KL", "MI")
    }
    in_bfloat16 = "products in bfloat16, not float32"

    assert words_by_column == {"IW": in_bfloat16, "-ELBO": in_bfloat16, "KL": "", "MI": ""}


def test_the_batch_of_a_mutual_information_is_named_where_it_differs():
    table = load_table("lagging_omniglot")
    assert (
        differing(*made(table, "VAE", "MI", "paper", "eval.mi_batch=32"))
        == "cases of a batch 32, not 50"
    )


def test_a_part_that_one_side_lacks_is_no_difference():
    table = load_table("dvae_sharp_sharp_gibbs")
    # Without the parts for log Z, which the present signature has.
    old = Protocol(
        "iw_nll|data:mnist_static@8f3a12cd|split:test|points:all|samples:4000|select:valid_bound|recipe:1"
    )

    assert differing(old, made(table, *GIBBS)[1]) == ""
    assert differing(old, UNKNOWN) == "", (
        "files of earlier versions do not have the paper's signature"
    )


# ------------------------------------------------------------------------------------------- errors


def test_the_error_of_log_z_alone_is_no_error():
    """If the error over the cases is unknown, the whole error is unknown."""
    log_z_only = Estimate(30.0, None, None, 1, None, "", "nats", (30.0,), log_z_error=0.04)
    assert log_z_only.error is None
    # hypot(0.03, 0.04); with several seeds it is their standard error alone.
    assert replace(log_z_only, own_error=0.03).error == pytest.approx(0.05)
    assert replace(log_z_only, n=2, se=0.2, own_error=0.03).error == 0.2


def test_a_cross_entropy_of_grey_levels_is_told_from_likelihoods():
    grey = ["data=mnist_grey", "model.likelihood=cross_entropy"]
    words = differing(*made(load_table("aevb_bound"), "MNIST 3", "AEVB", "paper", *grey))
    assert words == "data mnist_grey, not mnist_dynamic; likelihood cross_entropy, not bernoulli"
