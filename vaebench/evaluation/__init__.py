"""From a trained run to its measures, means and samples."""
