"""Calls of a function that goes on working, with what it returned."""

from __future__ import annotations


def recorded_calls(monkeypatch, place, name):
    """Return a list to which every call of ``place.name`` adds (args, options, result)."""
    function = getattr(place, name)
    calls = []

    def recorded(*args, **options):
        result = function(*args, **options)
        calls.append((args, options, result))
        return result

    monkeypatch.setattr(place, name, recorded)
    return calls
