"""Measures of a trained model. A metric knows models, never objectives.

Each is a streaming sum over the passes of ``metrics.weights.stream``, so that all of them share one stream of posterior
samples; vaebench.evaluate puts them together.
"""
