"""Measures of a trained model. A metric knows models, never objectives.

``METRICS`` maps a config name to a function (model, pass settings) -> Measures; see vaebench.evaluate.
"""
