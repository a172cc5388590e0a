"""Pieces of the HTML pages that runs and experiments leave: one page, one style, no script, no outside file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: .6rem 0; } td, th { padding: .2rem .8rem; text-align: right; }
td:first-child, th:first-child { text-align: left; } caption { text-align: left; color: #444; }
thead th { border-bottom: 2px solid #444; } tbody tr:nth-child(even) { background: #f4f4f4; }
img { max-width: 100%; } figure { margin: 1rem 0; } figcaption, .small { color: #666; font-size: .9rem; }
dl { display: grid; grid-template-columns: max-content auto; gap: .1rem 1rem; } dd { margin: 0; }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """A whole page of `parts`, which are HTML."""
    head = f'<meta charset="utf-8">\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>'
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def figure(file: str, caption: str) -> str:
    """A picture (path as seen from the page) with its caption."""
    return (f'<figure><img src="{escape(file)}" alt="{escape(caption)}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A table of texts."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{above}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def definitions(values: Mapping[str, Any]) -> str:
    """Names and values in small print."""
    items = []
    for name, value in values.items():
        if isinstance(value, dict):
            text = ", ".join(f"{k} {v}" for k, v in value.items())
        elif isinstance(value, list | tuple):
            text = ", ".join(map(str, value))
        else:
            text = "-" if value is None else str(value)
        items.append(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>")
    return '<dl class="small">' + "".join(items) + "</dl>"
