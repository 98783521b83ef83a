"""Measures of a trained model. A metric knows models, never objectives.

The registry is ``vaebench.protocol.registry.METRICS``: it names, for every measure, the files here
that take it. Each of these has one ``METRIC``, see ``base``.
"""
