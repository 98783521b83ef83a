"""What tests of several rooms share: ``from kit.runs import status``."""
