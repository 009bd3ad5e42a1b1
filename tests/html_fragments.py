"""Reading the fragments of HTML that values show themselves as in a notebook."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

TAGS = {"div", "pre", "table", "caption", "thead", "tbody", "tr", "th", "td"}
ATTRIBUTES = {"class", "style", "colspan"}


@dataclass
class Fragment:
    """What a fragment shows: the lines of its texts, and the cells of its tables, row by row."""

    lines: list[str] = field(default_factory=list)
    tables: list[list[list[str]]] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.fragment = Fragment()
        self.open: list[str] = []
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, f"<{tag}> has no place here"
        assert {name for name, _ in attrs} <= ATTRIBUTES
        assert not any("url" in (value or "") for _, value in attrs)
        self.open.append(tag)
        self._text = ""
        if tag == "table":
            self.fragment.tables.append([])
        elif tag == "tr":
            self.fragment.tables[-1].append([])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.fragment.tables[-1][-1].append(self._text)
        elif tag == "pre":
            self.fragment.lines += self._text.split("\n")
        elif tag == "caption":
            self.fragment.captions.append(self._text)

    def handle_data(self, data: str) -> None:
        assert self.open, "text outside of everything"
        self._text += data

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        raise AssertionError(f"<{tag}/>")

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)


def read_fragment(html: str | None) -> Fragment:
    """What a fragment shows. Fails for tags that are not closed, and for any that a table or a text has no need of."""
    assert html is not None
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader.fragment
