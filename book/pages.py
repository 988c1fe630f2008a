"Checks of the rendered pages that need no browser."

import gzip
import json
import re
from functools import cache
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

from . import HTML, toc_pages


class Page(HTMLParser):
    "What the checks need to know of a page: ids, links, images, the text of its article."

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.bare_images, self.loads, self.text, self._inside, self._skip = (
            set(),
            [],
            [],
            [],
            [],
            0,
            0,
        )
        self.raw = path.read_text(encoding="utf-8")
        self.feed(self.raw)
        self.text = "".join(self.text)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if a.get("id"):
            self.ids.add(a["id"])
        if tag == "a" and a.get("name"):
            self.ids.add(a["name"])
        if tag == "a" and a.get("href"):
            self.links.append(a["href"])
        if tag == "img" and not (a.get("alt") or "").strip() and "role" not in a:
            self.bare_images.append((a.get("src") or "")[:60])
        if tag in ("script", "img", "iframe") and a.get("src"):
            self.loads.append(a["src"])
        if tag == "link" and a.get("href") and "stylesheet" in (a.get("rel") or ""):
            self.loads.append(a["href"])
        if tag == "article":
            self._inside += 1
        if tag in ("script", "style"):
            self._skip += 1

    def handle_endtag(self, tag):
        if tag == "article":
            self._inside -= 1
        if tag in ("script", "style"):
            self._skip -= 1

    def handle_data(self, data):
        if self._inside and not self._skip:
            self.text.append(data)


@cache
def page(name):
    return Page(HTML / f"{name}.html")


def missing():
    return [
        f"{p}: no such page"
        for p in [*toc_pages(), "print", "search"]
        if not (HTML / f"{p}.html").is_file()
    ]


def built():
    return [p for p in toc_pages() if (HTML / f"{p}.html").is_file()]


def raw_marks():
    "Directives, errors and formulas that show as they are written."
    out = []
    for p in built():
        text, raw = page(p).text, page(p).raw
        if re.search(r"^#\s*\|", text, re.M):
            out.append(f"{p}: an nbdev directive is visible")
        if 'class="output traceback' in raw or "Traceback (most recent call last)" in text:
            out.append(f"{p}: an error shows as output")
        outside_math = re.sub(
            r'<div class="math.*?</div>|<span class="math.*?</span>|<pre.*?</pre>|<code.*?</code>',
            "",
            raw,
            flags=re.S,
        )
        if found := re.search(
            r"\\tag\{.*?\}|\$\$|```\{\w+\}|:::\{",
            re.sub(r"<script.*?</script>", "", outside_math, flags=re.S),
        ):
            out.append(f"{p}: {found[0]!r} shows as it is written")
    return out


def broken_links():
    "Links and anchors within the book that lead nowhere."
    out = []
    for p in built():
        here = (HTML / f"{p}.html").parent
        for link in page(p).links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (here / unquote(url.path)).resolve() if url.path else HTML / f"{p}.html"
            if not target.exists():
                out.append(f"{p}: {link} leads to no file")
            elif url.fragment and target.suffix == ".html":
                name = str(target.relative_to(HTML.resolve()))[:-5]
                if unquote(url.fragment) not in page(name).ids:
                    out.append(f"{p}: {link} leads to no place on that page")
    return sorted(set(out))


def images_without_text():
    return [
        f"{p}: image {src} has no alternative text" for p in built() for src in page(p).bare_images
    ]


def loads_from_outside():
    return [
        f"{p}: loads {src}"
        for p in built()
        for src in page(p).loads
        if re.match(r"(https?:)?//", src)
    ]


@cache
def previews():
    "What book/previews.py wrote: {address: HTML}."
    text = (HTML / "_static" / "previews.js").read_text(encoding="utf-8")
    return json.loads(text[text.index("{") : text.rindex("}") + 1])["previews"]


def address(p, link):
    "A link of a page as the previews name it: relative to the root of the book."
    url = urlsplit(link)
    target = (
        ((HTML / f"{p}.html").parent / unquote(url.path)).resolve()
        if url.path
        else HTML.resolve() / f"{p}.html"
    )
    return (
        str(target.relative_to(HTML.resolve()))
        + (f"#{unquote(url.fragment)}" if url.fragment else "")
        if target.is_relative_to(HTML.resolve())
        else link
    )


def links_of_kind(p, kind):
    "The links that the book sets by itself: to-equation, to-symbol, to-reference."
    return re.findall(rf'<a class="[^"]*\b{kind}\b[^"]*" href="([^"]+)"', page(p).raw)


def without_preview():
    "Links to equations, symbols, names and citations that show nothing when pointed at."
    known = previews()
    out = [
        f"{p}: {link} has no preview"
        for p in built()
        for kind in ("to-equation", "to-symbol", "to-reference")
        for link in links_of_kind(p, kind)
        if address(p, link) not in known
    ]
    return out + [
        f"{p}: the citation {link} has no preview"
        for p in built()
        for link in page(p).links
        if re.search(r"bibliography\.html#id\d+$", link) and address(p, link) not in known
    ]


def one_page():
    "What is wrong with the book on one page: missing chapters, links that lead nowhere."
    if not (HTML / "print.html").is_file():
        return []
    raw = "".join(
        re.findall(r"<[A-Za-z][^<>]*>", (HTML / "print.html").read_text(encoding="utf-8"))
    )
    ids = set(re.findall(r'\bid="([^"]+)"', raw))
    out = [f"print: {p} is not in it" for p in toc_pages() if p.rsplit("/", 1)[-1] not in ids]
    out += [
        f"print: #{a} leads to no place"
        for a in sorted(set(re.findall(r'href="#([^"]+)"', raw)))
        if unquote(a) not in ids
    ]
    return out + [
        f"print: {f} is not there"
        for f in sorted(set(re.findall(r'(?:src|href)="(?!#|data:|[a-z]+:)([^"#?]+)', raw)))
        if not (HTML / f).exists()
    ]


@cache
def as_sent(path):
    "Bytes of a file as servers send it: compressed where that makes it smaller."
    data = path.read_bytes()
    return min(len(gzip.compress(data, 6)), len(data))


def weight(p, files):
    "Bytes of a page's first view without its figures: of itself and of the files that it loads."
    bare = re.sub(
        r'<img[^>]*src="data:[^>]*>|<svg\b.*?</svg>', "", page(p).raw, flags=re.S
    ).encode()
    read = [f for f in files if f.suffix not in (".html", ".png", ".svg", ".jpg")]
    return len(gzip.compress(bare, 6)) + sum(map(as_sent, read))


def problems():
    "All of them, each a line that names the page."
    return [
        *missing(),
        *raw_marks(),
        *broken_links(),
        *images_without_text(),
        *loads_from_outside(),
        *without_preview(),
        *one_page(),
    ]
