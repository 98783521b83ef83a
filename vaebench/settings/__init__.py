"""What a setting may be, is where nothing is said, and was called before."""
