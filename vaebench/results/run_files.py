"""Names of the files in a run's folder."""

from __future__ import annotations

NOTE = "config.json"
"""What the run was made for: settings, data, table, row and column."""

RESULT = "result.json"
"""The outcome: status, measures, times."""

CHECKPOINT = "checkpoint.safetensors"
"""Everything that is needed to continue."""

BEST = "best.safetensors"
"""The parameters with the best validation bound so far."""

CURVE = "curve.csv"
"""One line for each validation."""

SNAPSHOTS = "snapshots"
"""Folder of the parameters after the numbers of updates that ``train.snapshots`` lists."""

MEANS = "means.csv"
"""Posterior means at the snapshots, for runs with a scalar latent."""

EVALUATION = "evaluation.safetensors"
"""What an interrupted evaluation has computed so far."""

TRACK = "track.jsonl"
"""What ``run.track=jsonl`` writes."""

TRACKED = "tracked.json"
"""How many points of the curve each tracker got."""

MADE = (RESULT, CHECKPOINT, BEST, CURVE, MEANS, EVALUATION, TRACK, TRACKED)
"""Files of a run besides its note and its snapshots; they are deleted if it begins again."""
