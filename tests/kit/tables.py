"""A small table, a figure that is drawn, and the cells that a table is composed to."""

from __future__ import annotations

from vaebench.config import catalogue
from vaebench.config.compose import cells

SMALL = """
title: A small table
paper: someone2014
where: Table 1
recipe: 3
measure: bound
margin: 0.5
margin_why: seeds differ by that much
seeds: [0, 1, 2]
base: [data=mnist_static, model=sbn, optim=sgd, eval=bound10]
columns:
  NVIL: {set: [objective=nvil, optim.rate=3e-4]}
  WS:   {set: [objective=wake_sleep, optim.rate=1e-4]}
rows:
  SBN 200:     {set: ["model.dims=[200]"], published: {NVIL: 113.1, WS: 120.8}}
  SBN 200-200: {set: ["model.dims=[200,200]"], published: {NVIL: 99.8}}
  fDARN 200:   {set: [model=fdarn, "model.dims=[200]"], columns: [NVIL], published: {NVIL: 92.5}}
  NADE 500:    {columns: [], published: {NLL: 88.9}, source: Larochelle and Murray 2011}
presets:
  tuned:
    set: [optim.rate=1e-3, train.batch=30]
    note: chosen on validation
    columns: {WS: [optim.rate=2e-3]}
    rows:
      SBN 200: {"*": [train.batch=40, optim.rate=4e-3], WS: [optim.rate=5e-3]}
      fDARN 200: {"*": []}
    seeds: [4, 5]
  short:
    rows: {SBN 200: {WS: [train.updates=2000000]}}
ledger:
  - {topic: sum or mean, paper: silent, here: summed, why: the mean learns twenty times slower}
"""

DRAWN = """
title: A figure of formulas
paper: someone2018
where: Figure 5
drawn: smoothing
ledger:
  - {topic: temperatures, paper: silent, here: chosen, why: smooth to sharp}
"""


def compose(table, preset="paper", overrides=(), only=()):
    """The cells of a table, by (row, column)."""
    return {
        (c.row, c.column): c for c in cells(table, catalogue.load_preset(preset), overrides, only)
    }


def one(table, *overrides, preset="paper", only=("SBN 200", "column=NVIL")):
    """One cell of a table; by default the first of the small table."""
    (cell,) = cells(table, catalogue.load_preset(preset), overrides, only)
    return cell
