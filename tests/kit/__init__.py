"""What tests of several rooms share: ``from kit.runs import status``.

Every test has the fixtures of ``cells`` (tiny cells, their data and store) and of ``processes``
(real commands) without an import, because ``tests/conftest.py`` loads them. Each of the other files
has one kind of thing: small models and their inputs, files of a format, tables, stored results, the
command.
"""
