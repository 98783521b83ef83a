"""Estimators compared with exact answers."""
