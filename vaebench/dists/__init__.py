"""Probability distributions: sampling from given noise, log-densities in nats."""
