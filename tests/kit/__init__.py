"""What tests of several rooms share: ``from kit.runs import status``.

Fixtures of ``cells`` (tiny cells, their data and store) and of ``processes`` (real commands) are
there for every test without an import: ``tests/conftest.py`` loads them. Of the other files each
has one kind of thing: small models and what they take, files of a format, tables, stored results,
the command.
"""
