"""vaebench from Python: tables, runs, and the parts they are made of.

The package ``vaebench`` itself offers these functions.
"""
