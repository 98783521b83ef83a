"""Data sets of documents."""
