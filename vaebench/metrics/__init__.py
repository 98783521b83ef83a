"""Measures of a trained model. A metric knows models, never objectives.

The registry is ``vaebench.protocol.registry.METRICS``: it names, for every measure, the files here that take it. Such a
file has

- ``start(job)``: None where it does not apply to the job's model or settings, else what it gathers. If that has
  ``samples``, a number, and ``add(part)``, it is given the passes of the job's stream of posterior samples with the
  first so many samples of each case, so that all metrics share one stream. It is a ``Sums`` then: a stream that was
  stopped can be gone on with;
- ``measures(job, gathered)``: the Measures, when the stream has ended; evaluate.py adds cases and protocol to them.
"""
