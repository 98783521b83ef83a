"""vaebench from Python: tables, runs, and the parts they are made of.

``vaebench`` itself offers its functions.
"""
