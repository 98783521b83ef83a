"""Evaluations that are stopped between any two steps and resumed give the same numbers, bit for
bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from kit.stopping import Stopping

from vaebench import models
from vaebench.check import checks as check
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.data.text.specials import END, PAD, START
from vaebench.errors import Interrupted
from vaebench.estimators import exact, rbm_fit
from vaebench.estimators.log_z.methods import parallel_tempering
from vaebench.estimators.posterior_mean import posterior_mean
from vaebench.evaluation.evaluate import evaluate
from vaebench.evaluation.partial import Partial
from vaebench.models import refinement, text_decoder
from vaebench.models.refinement import Refinement, Steps
from vaebench.work.steps import Work

EVAL = {
    "bound_samples": 4,
    "iw_samples": 25,
    "split": "test",
    "points": None,
    "logz_method": "ais",
    "logz_temperatures": 3,
    "logz_chains": 4,
    "logz_sweeps": 4,
    "posterior_temperatures": 3,
}
DIRECTED = {"name": "rbm_vae", "latents": 6, "groups": 2, "layers": 1, "units": 3}
POSTERIOR = {"name": "rbm_posterior", "latents": 6, "layers": 0, "units": 3}
LINEAR = {"name": "linear_gaussian", "dims": [2]}
TEXT = {"name": "text_vae", "latents": 2, "embedding": 3, "units": 4}
IMAGE = {
    "name": "image_vae",
    "latents": 2,
    "channels": 4,
    "kernels": [3, 3],
    "encoder_channels": [3],
    "features": 4,
}
LM = {"name": "text_lm", "embedding": 3, "units": 4}
DOC_NADE = {"name": "doc_nade", "dims": [3]}
LDA = {"name": "lda", "dims": [3]}
REPLICATED = {"name": "replicated_softmax", "units": 3}
COUNTED = (DOC_NADE, LDA, REPLICATED)

EVALUATIONS = {
    "belief net": ({"name": "sbn", "dims": [3, 2]}, {}),
    "annealed": (LINEAR, {"iw_samples": 5, "ais_chains": 3, "ais_temperatures": 4}),
    "repeats": ({"name": "sbn", "dims": [3]}, {"repeats": 2, "iw_samples": 10}),
    "annealed log Z": (DIRECTED, {}),
    "tempered log Z": (DIRECTED, {"logz_method": "tempering", "iw_samples": 5}),
    "enumerated log Z": (DIRECTED, {"logz_method": "exact", "iw_samples": 5}),
    "Boltzmann posteriors": (POSTERIOR, {"iw_samples": 5}),
    "documents": (TEXT, {"iw_samples": 12}),
    "language model": (LM, {}),
    "images, refined": (IMAGE, {"iw_samples": 12}),
    "images, refined, in bfloat16": (IMAGE, {"iw_samples": 12, "precision": "bfloat16"}),
    "documents, refined": (TEXT, {"iw_samples": 12}),
    "counts in orders": (DOC_NADE, {"orders": 6}),
    "counts from left to right": (LDA, {"particles": 2}),
    "log Z of lengths": (REPLICATED, {}),
}

REFINED = Steps(count=3, rate=0.5, momentum=0.5, clip=0.5)
"""How posteriors are refined in the evaluations whose name says so, in batches of 7 cases. Neither
120 images nor 40 documents are whole batches."""


def documents(count: int) -> torch.Tensor:
    """Documents of 1 to 4 words, numbers 4 to 8, longest first."""
    words = torch.randint(4, 9, (count, 6), generator=torch.Generator().manual_seed(0))
    words[:, 0] = START

    for i, row in enumerate(words):
        row[5 - i * 4 // count] = END
        row[6 - i * 4 // count :] = PAD

    return words


def tiny(settings):
    """A model of images, of counts, of check.VISIBLE pixels, or of nine words."""
    if settings is IMAGE:
        model = models.build(settings, DataInfo(np.full(6, 0.5), shape=(2, 3)))
        randomize(model, 1, 0.6)
        return model.requires_grad_(False)

    if settings in COUNTED:
        model = models.build(settings, DataInfo(np.full(5, 0.4), Kind.COUNTS)).double()
        randomize(model, 1, 0.6)
        return model.requires_grad_(False)

    if not settings["name"].startswith("text"):
        return check.tiny(settings, seed=1, scale=0.6).requires_grad_(False)

    model = models.build(settings, DataInfo(np.zeros(9))).double()
    randomize(model, 1, 0.6)
    return model.requires_grad_(False)


@pytest.fixture
def make(monkeypatch):
    """The model, the cases and the settings of one of EVALUATIONS, by its name. Parts are so small
    that every loop has several steps."""
    from vaebench.estimators import (
        annealed_posterior,
        enumeration,
        left_to_right,
        posteriors,
        weights,
    )
    from vaebench.estimators.log_z import annealing, tempering

    monkeypatch.setattr(enumeration, "STATES", 24)
    monkeypatch.setattr(enumeration, "CASES", 60)
    monkeypatch.setattr(posteriors, "BLOCK", 1500)
    monkeypatch.setattr(weights, "TOKENS", {"cpu": 200, "cuda": 200})
    monkeypatch.setattr(annealed_posterior, "MAX_FLOATS", {"cpu": 1500, "cuda": 1500})
    monkeypatch.setattr(annealing, "MAX_FLOATS", {"cpu": 1500, "cuda": 1500})
    monkeypatch.setattr(tempering, "ROUNDS", 1)
    monkeypatch.setattr(left_to_right, "PART", 7)
    monkeypatch.setattr(text_decoder, "ROWS", {"cpu": 10, "cuda": 10})

    def make(name):
        settings, ev = EVALUATIONS[name]
        shared = {
            "data": {"name": "tiny"},
            "train": {"select": "last", "valid_samples": 5},
            "recipe": 1,
        }
        config = {**shared, "model": settings, "eval": {**EVAL, **ev}}
        reads_documents = settings in (TEXT, LM)
        pixels = 6 if settings is IMAGE else check.VISIBLE
        x = documents(40) if reads_documents else exact.states(pixels).repeat(8, 1)[:120]

        if settings in COUNTED:
            x = torch.randint(0, 3, (40, 5), generator=torch.Generator().manual_seed(0))
            x[:, 0] += 1

        model = tiny(settings)
        if "refined" in name:
            model.refinement = Refinement(REFINED, batch=7)

        return model, x, config

    return make


def gone_on_with(job, partial: Partial, at: int | None):
    """Resume a job from what is kept, and stop it at its ``at``-th step. Returns its result, or
    None if it was stopped, and the number of steps made."""
    kept, spent = partial.read()
    stop = Stopping(at)

    try:
        with Work(stop, keep=partial.write, kept=kept, spent=spent):
            return job(), stop.count
    except Interrupted:
        return None, stop.count


@pytest.mark.parametrize("name", EVALUATIONS)
def test_stopped_at_any_step_and_gone_on_with_it_is_the_same_evaluation(make, tmp_path, name):
    model, x, config = make(name)

    def job():
        return evaluate(model, x, config, "0" * 16, seed=0)

    unwatched = job()

    whole, count = gone_on_with(job, Partial(tmp_path / "none", {}), None)

    assert whole == unwatched, "to be watched changes nothing"
    assert count > 4

    # Not every step is tried, but some 25 of them, or 8, spread evenly.
    stride = max(
        1, count // (8 if name in ("tempered log Z", "documents") or "refined" in name else 25)
    )
    for at in range(1, count + 1, stride):
        partial = Partial(tmp_path, {"at": at})
        assert gone_on_with(job, partial, at)[0] is None

        resumed, steps_left = gone_on_with(job, partial, None)
        assert resumed == whole, f"stopped at {at} of {count}"
        assert steps_left <= count

    assert steps_left < count / 2 + stride, "a late stop leaves little to do"


@pytest.mark.parametrize("name", ["images, refined", "documents, refined"])
def test_stopped_inside_a_refinement_it_ends_with_equal_bits(make, tmp_path, monkeypatch, name):
    """Stopped at every step of the refinement of the third batch, and of the last. What the
    refinement has found by then is thrown away."""
    model, x, config = make(name)
    refined_at = []
    refine = refinement.refine
    monkeypatch.setattr(
        refinement, "refine", lambda *a, **k: refined_at.append(stop.count) or refine(*a, **k)
    )

    def job():
        return evaluate(model, x, config, "0" * 16, seed=0)

    def watched(partial, at):
        nonlocal stop
        stop = Stopping(at)
        kept, spent = partial.read()

        with Work(stop, keep=partial.write, kept=kept, spent=spent):
            return job()

    stop = Stopping()

    whole = watched(Partial(tmp_path / "none", {}), None)
    batches = refined_at[:]

    assert len(batches) == -(-len(x) // 7), "each posterior is found once"

    for first in (batches[2], batches[-1]):
        for inside in range(1, REFINED.count + 1):
            partial = Partial(tmp_path, {"at": first + inside})
            with pytest.raises(Interrupted):
                watched(partial, first + inside)
            assert watched(partial, None) == whole


@pytest.mark.parametrize("name", EVALUATIONS)
def test_stopped_again_and_again_it_gets_there(make, tmp_path, name):
    model, x, config = make(name)

    def job():
        return evaluate(model, x, config, "0" * 16, seed=0)

    partial = Partial(tmp_path, {})
    stops = itertools.count()

    # Pilot runs that place temperatures begin anew, and so does the refinement of a group of cases.
    longest = 60 if name == "tempered log Z" or "refined" in name else 12

    while (measures := gone_on_with(job, partial, longest)[0]) is None:
        assert next(stops) < 200

    assert measures == job()


def test_work_without_a_state_of_its_own_stops_too():
    """Such work is the search for the least KL, and the quadrature of posterior means."""
    log_p = torch.log_softmax(torch.arange(8.0, dtype=torch.float64), 0).numpy().tobytes()
    model = tiny({**TEXT, "latents": 1})
    x = documents(6)

    for job in (
        lambda: rbm_fit.optimum(log_p, 1, 2, starts=3),
        lambda: posterior_mean(model, x, step=0.5),
    ):
        stop = Stopping(3)
        with pytest.raises(Interrupted), Work(stop):
            job()
        assert stop.count == 3


def test_a_ladder_that_is_gone_on_with_is_the_same(tmp_path):
    rbm = tiny(DIRECTED).prior()

    def job():
        log_z = parallel_tempering(rbm, 6, 4, 0, pilot=4)
        return float(log_z.value), float(log_z.error), log_z.swap_rates[0].tolist()

    whole, count = gone_on_with(job, Partial(tmp_path, {}), None)

    for at in range(1, count + 1):
        partial = Partial(tmp_path, {"at": at})
        gone_on_with(job, partial, at)
        assert gone_on_with(job, partial, None)[0] == whole, f"{at} of {count}"
