"""The report as one HTML file that needs nothing else: no network, no file beside it.

The Markdown is rendered by markdown-it-py (CommonMark with tables; raw HTML stays text, so that
no label of a study can become a tag). Figures are embedded as SVG, style and script as text.
"""

import base64
from html import escape
from pathlib import Path

from seqgrid.report.markdown import slug
from seqgrid.report.marks import MEANINGS

HERE = Path(__file__).parent

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#answer">To the answer</a>
<nav aria-label="Sections">
<ul>
{contents}</ul>
</nav>
<main>
{body}</main>
<script>
{script}</script>
</body>
</html>
"""


def render(markdown: str, folder: Path, captions: dict[str, str]) -> str:
    """The page for a report's Markdown.

    folder: where `figures/` lies, whose SVG files are embedded.
    captions: what stands for a figure where it cannot be seen, by its name.
    """
    from markdown_it import MarkdownIt  # takes longer to import than the rest of a small report
    from markdown_it.token import Token

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    title, found = "", []
    for token, following in zip(tokens, [*tokens[1:], Token("", "", 0)], strict=True):
        if token.type == "heading_open":
            name = slug(following.content)
            token.attrSet("id", name)
            title = title or following.content
            if token.tag == "h2":
                found.append(f'<li><a href="#{name}">{escape(following.content)}</a></li>\n')
        elif token.type == "th_open":
            token.attrSet("scope", "col")
        elif token.type == "inline":
            token.children = _inline(token.children or [], folder, captions)
    body = parser.renderer.render(tokens, parser.options, {})
    body = body.replace("<table>", '<div class="wide" tabindex="0"><table>')
    body = body.replace("</table>", "</table></div>")
    return PAGE.format(
        title=escape(title),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        contents="".join(found),
        body=_marked(body),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
    )


def _inline(children: list, folder: Path, captions: dict[str, str]) -> list:
    """Figures embedded; links to files of figures, which the page does not need, left out."""
    kept, inside = [], False
    for child in children:
        if child.type == "link_open" and str(child.attrGet("href")).startswith("figures/"):
            inside = True
        elif inside:
            inside = child.type != "link_close"
        else:
            if child.type == "image":
                path = str(child.attrGet("src"))
                child.attrSet("src", _embedded(folder / path))
                child.children[0].content = captions.get(Path(path).stem, Path(path).stem)
            kept.append(child)
    return kept


def _embedded(path: Path) -> str:
    """A figure as a data URI; the SVG in place of the PNG that Markdown shows."""
    svg = path.with_suffix(".svg")
    kind, found = ("svg+xml", svg) if svg.is_file() else ("png", path)
    return f"data:image/{kind};base64,{base64.b64encode(found.read_bytes()).decode()}"


def _marked(body: str) -> str:
    """Each mark says what it means when pointed at."""
    for mark, words in MEANINGS.items():
        body = body.replace(mark, f'<abbr title="{escape(words)}">{mark}</abbr>')
    return body
