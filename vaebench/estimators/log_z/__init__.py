"""Estimates of log Z of a Boltzmann machine."""
