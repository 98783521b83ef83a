"""Random numbers: one seed, many independent streams."""
