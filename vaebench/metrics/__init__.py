"""Measures of a trained model. A metric knows models, never objectives.

The registry is ``vaebench.protocol.registry.METRICS``. For every measure it names the files here
that take it. Each of these files has one ``METRIC``, see ``base``.
"""
