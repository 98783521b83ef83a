"""Long work: loops that can be stopped and gone on with, and how far they are."""
