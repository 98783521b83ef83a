"""Numbers from a model: samples, weights, log Z, exact answers. No settings, no protocol."""
