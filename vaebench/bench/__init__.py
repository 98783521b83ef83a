"""How fast training and evaluation are."""
