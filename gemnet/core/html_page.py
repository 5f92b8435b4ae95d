"""Pages of one HTML file that hold everything, ask the network for nothing, and suit light and dark screens."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from string import Template
from typing import TYPE_CHECKING

from gemnet.core.telling import printable

if TYPE_CHECKING:
    from PIL import Image

_PAGE = Template("""\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --soft: #5c5c5c; --line: #d8d8d8; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #16181c; --soft: #a9adb5; --line: #3a3e46; --bad: #ff8a80; }
}
body { font: 16px/1.45 system-ui, sans-serif; margin: 1.5em auto; max-width: 1080px; padding: 0 1em; color: var(--ink);
background: var(--paper); overflow-wrap: anywhere; }
h1 { font-size: 1.5em; } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid var(--line); }
.box { overflow-x: auto; } table { border-collapse: collapse; font-size: .9em; font-variant-numeric: tabular-nums; }
th, td { padding: .3em .7em; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child { text-align: left; } tbody th { font-weight: normal; }
li { margin: .4em 0; } li small { display: block; color: var(--soft); } .bad { color: var(--bad); }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1em; } figure { margin: 0; }
figure img { max-width: 100%; } svg { max-width: 100%; height: auto; } figcaption { font-size: .85em; color: var(--soft); }
figure b { font-weight: normal; border-left: .8em solid; padding-left: .3em; }
.headline { font-size: 1.6em; margin: .5em 0; }
</style></head><body><main>
<h1>$title</h1>
$body
</main></body></html>
""")


def page(title: object, body: str) -> str:
    """The file's text. `body` is HTML; the title is text."""
    return _PAGE.substitute(title=escaped(title), body=body)


def section(heading: object, content: str) -> str:
    """A heading, and HTML below it."""
    return f"<h2>{escaped(heading)}</h2>\n{content}"


def table(columns: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table that scrolls by itself where it is wider than the screen; the first entry of a row heads it."""
    head = "".join(f"<th scope=col>{escaped(column)}</th>" for column in columns)
    lines = []
    for first, *others in rows:
        cells = "".join(f"<td>{escaped(cell)}</td>" for cell in others)
        lines.append(f"<tr><th scope=row>{escaped(first)}</th>{cells}</tr>")
    return f"<div class=box><table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


def jpeg_url(image: Image.Image, quality: int) -> str:
    """The address of an image that holds the image itself, as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return _data_url("image/jpeg", buffer.getvalue())


def svg_url(svg: str) -> str:
    """The address of an image that holds the SVG itself."""
    return _data_url("image/svg+xml", svg.encode())


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def escaped(value: object) -> str:
    """A text as HTML, all of whose characters show."""
    return html.escape(printable(value))
