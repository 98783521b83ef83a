"""Names of the files in a run's folder."""

from __future__ import annotations

NOTE = "config.json"
"""What the run is of: settings, data, table, row and column."""

RESULT = "result.json"
"""What it came to: status, measures, curve, times."""

CHECKPOINT = "checkpoint.safetensors"
"""Everything needed to go on."""

BEST = "best.safetensors"
"""The parameters with the best validation bound so far."""

CURVE = "curve.csv"
"""One line per validation."""

SNAPSHOTS = "snapshots"
"""Folder of the parameters after the numbers of updates that ``train.snapshots`` lists."""

MEANS = "means.csv"
"""Posterior means at the snapshots, of runs with a scalar latent."""

EVALUATION = "evaluation.safetensors"
"""What an evaluation that was stopped has found so far."""

TRACK = "track.jsonl"
"""What ``run.track=jsonl`` writes."""

TRACKED = "tracked.json"
"""How many points of the curve each tracker was told."""

MADE = (RESULT, CHECKPOINT, BEST, CURVE, MEANS, EVALUATION, TRACK, TRACKED)
"""What a run writes beside its note and its snapshots: thrown away if it is begun again."""
