"""A page: Markdown as one HTML file that needs nothing besides itself.

Enters: Markdown, with pictures (PNG) and links relative to a folder. Leaves: HTML with the pictures inside it,
headings as contents, and tables that scroll in a box of their own, which a few lines of script sort and filter. A link
to a heading whose title is how a row of a table below that begins, `[0.1](#the-claims "C1")`, leads to that row, where
there is one; of the words that a table under the header *word* explains, the first in every section lead to it. Raw
HTML in the Markdown is shown, not obeyed, but for what `folded` makes.
"""

import base64
import html
import re
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import jinja2
import mistune
from markupsafe import Markup

TEMPLATE = Path(__file__).with_suffix(".html.j2")
DENSITY = 150 / 96  # pixels of a saved picture per pixel of the page
VERDICTS = ("supported", "contradicted", "open")
TALL = 26  # rows, the header's among them: a table with more scrolls in a box, shorter ones are shown whole
LONG = 30  # characters: a cell with more needs room, lest it becomes a tower of words
FOLD = re.compile(r"<details>\n<summary>[^<>]*</summary>|</details>")
GLOSSARY = "word"  # the header of the table that explains words
LINKED = re.compile(r"<(a|code)\b(?s:.*?)</\1>|<[^>]+>")  # where no word is made a link
REMARK = re.compile(r"<em>(Data|Files):</em>")  # how a paragraph of links begins


@dataclass
class Heading:
    """A heading, and those one level further down that follow it."""

    level: int
    text: str
    anchor: str
    below: list["Heading"] = field(default_factory=list)


def render(markdown: str, folder: Path, **meta: str) -> str:
    """The page; its title is the first heading of level 1. `meta` becomes meta tags, `compiled_from` "compiled-from".

    Raises ValueError for a picture that is not a PNG file in the folder.
    """
    renderer, body = _read(markdown, folder)
    title = next((heading.text for heading in renderer.headings if heading.level == 1), "Report")
    meta = {name.replace("_", "-"): content for name, content in meta.items()}
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text())
    return template.render(title=title, body=Markup(body), contents=_nested(renderer.headings), meta=meta)


def contents(markdown: str, folder: Path) -> list[Heading]:
    """The headings of level 2, each with those of level 3 below it; anchors are those that code hosts make."""
    return _nested(_read(markdown, folder)[0].headings)


def folded(summary: str, markdown: str) -> str:
    """Markdown that is shown as one line until a reader opens it, here and where code is hosted."""
    return f"<details>\n<summary>{html.escape(summary)}</summary>\n\n{markdown}\n\n</details>"


def linked(page: str, pictures: Mapping[str, bytes]) -> str:
    """The page with links to its pictures instead of copies of them, where they are among these PNGs, by their places
    as seen from the page."""
    for place, png in pictures.items():
        page = page.replace(_embedded(png), place)
    return page


def _embedded(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def plain(markdown: str) -> str:
    """What is left to read of Markdown without its markup."""
    return _without_tags(mistune.html(markdown)).strip()


class _Renderer(mistune.HTMLRenderer):
    def __init__(self, folder: Path):
        super().__init__(escape=True)
        self.folder, self.headings, self.slugs = folder, [], Counter()
        self.rows: set[str] = set()  # their anchors, with a point, which those of headings have not
        self.words: dict[str, str] = {}  # that are explained -> where
        self.unsaid: set[str] = set()  # those that this section has not had yet

    def heading(self, text: str, level: int, **_) -> str:
        shown = _without_tags(text)
        slug = _slug(shown)
        anchor = f"{slug}-{self.slugs[slug]}" if self.slugs[slug] else slug
        self.slugs[slug] += 1
        self.headings.append(Heading(level, shown, anchor))
        self.unsaid = set(self.words) if level == 2 else self.unsaid
        return f'<h{level} id="{anchor}">{text}</h{level}>\n'

    def block_html(self, html: str) -> str:
        return f"{html.strip()}\n" if FOLD.fullmatch(html.strip()) else super().block_html(html)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        png = _picture(self.folder, url)
        width, height = (round(pixels / DENSITY) for pixels in struct.unpack(">II", png[16:24]))
        source = _embedded(png)
        shape = 'class="upright" ' if height > width else ""
        alt = _without_tags(text, quote=True)
        return f'<img {shape}src="{source}" width="{width}" height="{height}" alt="{alt}">'

    def paragraph(self, text: str) -> str:
        if text.startswith("<img "):
            picture, _, caption = text.partition("<br />\n")
            said, end, files = caption.partition("</em> ")
            caption = f'{said}{end}<span class="files">{files}</span>' if files else caption
            return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>\n"
        return f'<p class="remark">{text}</p>\n' if REMARK.match(text) else f"<p>{self._explained(text)}</p>\n"

    def _explained(self, text: str) -> str:
        """The text with links on words that are explained, each the first time in a section."""
        if not self.unsaid:
            return text
        longest_first = "|".join(map(re.escape, sorted(self.words, key=len, reverse=True)))
        words = re.compile(rf"{LINKED.pattern}|(?<![\w-])(?P<word>{longest_first})(?=s?\b)")

        def link(found: re.Match) -> str:
            if (word := found["word"]) not in self.unsaid:
                return found[0]
            self.unsaid.remove(word)
            return f'<a class="word" href="#{self.words[word]}">{word}</a>'

        return words.sub(link, text)

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if title and url.startswith("#"):
            url = f"{url}.{_slug(title)}"
        return super().link(text, url, title)

    def table_row(self, text: str) -> str:
        first = re.match(r"<td[^>]*>(.*?)</td>", text)
        if not first or not self.headings:
            return f"<tr>\n{text}</tr>\n"
        anchor = f"{self.headings[-1].anchor}.{_slug(_without_tags(first[1]))}"
        if anchor in self.rows:
            return f"<tr>\n{text}</tr>\n"
        self.rows.add(anchor)
        return f'<tr id="{anchor}">\n{text}</tr>\n'

    def table(self, text: str) -> str:
        kind = "table tall" if text.count("<tr") > TALL else "table"
        if f'class="">{GLOSSARY}</th>' in text:
            anchors = re.findall(r'<tr id="([^"]+)">\n<td[^>]*>(.*?)</td>', text)
            self.words |= {word: anchor for anchor, word in anchors}
            kind += " words"
        return f'<div class="{kind}" tabindex="0" role="region" aria-label="Table"><table>\n{text}</table></div>\n'

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:
        if head:
            kind = "number" if align == "right" else ""
            return f'<th scope="col" class="{kind}">{text}</th>\n'
        long = "long" if len(_without_tags(text)) > LONG else ""
        kind = "number" if align == "right" else text if text in VERDICTS else long
        return f'<td class="{kind}">{text}</td>\n'


def _read(markdown: str, folder: Path) -> tuple[_Renderer, str]:
    renderer = _Renderer(folder)
    body = mistune.create_markdown(renderer=renderer, plugins=["table"])(markdown)

    def there(link: re.Match) -> str:  # a row that no table has is looked for below its heading
        return link[0] if unquote(f"{link['heading']}.{link['row']}") in renderer.rows else f'href="#{link["heading"]}"'

    return renderer, re.sub(r'href="#(?P<heading>[^".]+)\.(?P<row>[^"]*)"', there, body)


def _picture(folder: Path, url: str) -> bytes:
    path = folder / url
    if not path.is_file():
        raise ValueError(f"picture {url} is not in {folder}: a page holds only pictures that are saved there")
    png = path.read_bytes()
    if not png.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError(f"{path} is not a PNG picture: delete it and make it again")
    return png


def _nested(headings: list[Heading]) -> list[Heading]:
    top = []
    for heading in headings:
        if heading.level == 2:
            top.append(Heading(2, heading.text, heading.anchor))
        elif heading.level == 3 and top:
            top[-1].below.append(heading)
    return top


def _slug(text: str) -> str:
    """What code hosts make of a heading for its address."""
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", text.lower().strip()))


def _without_tags(text: str, *, quote: bool = False) -> str:
    shown = html.unescape(re.sub(r"<[^>]+>", "", text))
    return html.escape(shown) if quote else shown
