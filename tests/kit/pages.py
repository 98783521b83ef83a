"""Pages of the site, read as a browser would."""

from __future__ import annotations

import json
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "wbr", "img", "input", "hr"}


class Page(HTMLParser):
    """Checks that elements are closed in order, and gathers what pages must be careful with."""

    def __init__(self, path):
        super().__init__()
        self.open = []
        self.links = []
        self.ids = []
        self.specs = []
        self.heads = []
        self._script = None
        self.feed(path.read_text(encoding="utf-8"))

        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links += [attrs[k] for k in ("href", "src") if k in attrs]
        self.ids += [attrs["id"]] if "id" in attrs else []
        if tag == "th":
            assert "scope" in attrs
        if tag == "img":
            assert attrs["alt"]
        if attrs.get("role") in ("img", "region"):
            assert attrs["aria-label"]
        if attrs.get("type") == "application/json":
            self._script = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "script" and self._script is not None:
            self.specs.append(json.loads(self._script))
            self._script = None

    def handle_data(self, data):
        if self._script is not None:
            self._script += data
