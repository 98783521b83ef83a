"""Long work: loops that can be stopped and continued, and how far they are."""
