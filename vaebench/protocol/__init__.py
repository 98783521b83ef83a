"""What is measured, and how: torch is not needed to read it."""
