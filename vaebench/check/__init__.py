"""Estimators held against exact answers."""
