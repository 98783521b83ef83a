"""``vaebench site``: all tables, runs and models as one folder of pages.

A browser opens it without a server.
"""
