"""The frame of a report: one page with its style sheet, which forbids itself scripts, pictures and the network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape

from llmdbg.frontends.reports.style import STYLE
from llmdbg.frontends.sanitize import sanitize


def page(title: str, body: Iterable[str]) -> str:
    """A whole page from a title in plain text and the HTML of its body."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{shown(title)}</title><style>{STYLE}</style></head><body><main>",
            *body,
            "</main></body></html>",
            "",
        )
    )


def shown(text: str) -> str:
    """Any text as HTML that shows it: symbols stand for control characters, and nothing is parsed as markup."""
    return escape(sanitize(text))


def shown_lines(text: str) -> str:
    """As `shown`, but with the text's line breaks kept, each marked."""
    return "⏎\n".join(map(shown, text.split("\n")))


def section(title: str, *parts: str) -> str:
    """A section with a heading; empty if it has no parts."""
    kept = [each for each in parts if each]
    return f"<section><h2>{shown(title)}</h2>{''.join(kept)}</section>" if kept else ""


def folded(title: str, *parts: str) -> str:
    """Parts behind a line that unfolds them."""
    return f"<details><summary>{shown(title)}</summary>{''.join(parts)}</details>"


def table(titles: Iterable[str], rows: Iterable[Iterable[str]], *, name: str = "", marked: str | None = None) -> str:
    """A table of HTML cells. The first cell of a row names it; `marked` is that of a row to mark.

    `name` is the class of the table. A cell that begins with `<td` is one already.
    """
    head = "".join(f'<th scope="col">{shown(each)}</th>' for each in titles)
    lines = []
    for first, *others in rows:
        cells = "".join(each if each.startswith("<td") else f"<td>{each}</td>" for each in others)
        kind = ' class="first"' if first == marked else ""
        lines.append(f'<tr{kind}><th scope="row">{first}</th>{cells}</tr>')
    kind = f' class="{name}"' if name else ""
    return f'<div class="wide"><table{kind}><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
