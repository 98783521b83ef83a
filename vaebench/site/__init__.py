"""``vaebench site``: all tables, runs and models as one folder of pages that a browser opens without a server."""
