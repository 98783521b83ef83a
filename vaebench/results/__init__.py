"""Results of runs: files, numbers, errors, flags, without torch."""
