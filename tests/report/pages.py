"""Pages of the synthetic findings, rendered once for each test process, and what is in them."""

import functools
import html.parser
import json
from typing import Any

from critbatch.finding import to_json
from critbatch.report import render

from .. import findings

KINDS = {"full": findings.full, "poor": findings.poor, "hostile": findings.hostile}


def result(kind: str) -> dict[str, Any]:
    """Return a synthetic result, as `json.loads` of its result.json gives it."""
    return json.loads(json.dumps(to_json(KINDS[kind]())))


@functools.cache
def page(kind: str) -> str:
    """Return the page of a synthetic result."""
    return render(result(kind))


class Reader(html.parser.HTMLParser):
    """Collects a page's tags, its ids, its visible words and the contents of its script elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in {"script", "style"}:
            self.open.append(tag)
            if tag == "script":
                self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open == ["script"]:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif not self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        """Return the visible words."""
        return " ".join(" ".join(self.words).split())


@functools.cache
def read(kind: str) -> Reader:
    """Return what is in the page of a synthetic result."""
    return Reader(page(kind))
