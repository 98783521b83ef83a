"""What is made of a trained run: measures, posterior means, samples."""
