"""Training of packs of seeds: the loop, its engines, checkpoints."""
