"""The whole book on one page, `print.html`, for printing.

The articles of the pages one after another, with their identifiers and links made to fit."""

import html
import re
from pathlib import Path

from . import settings, toc_pages

ARTICLE = re.compile(r'<article class="bd-article"[^>]*>(.*?)</article>', re.S)
TITLE = re.compile(r'<h1>(.*?)<a class="headerlink"', re.S)
IDENTIFIER = re.compile(r'\b(id|for|aria-labelledby|aria-describedby|name)="([^"]+)"')
LINK = re.compile(r'\b(xlink:href|href|src)="([^"#]*)(?:#([^"]*))?"')
DROPPED = re.compile(
    r'<a class="headerlink".*?</a>|<script(?! type="application/vnd)[^>]*>.*?</script>', re.S
)
# what the head of a page loads that the one page needs, too
LOADED = re.compile(
    r'<link [^>]*rel="(?:stylesheet|preload stylesheet)"[^>]*>'
    r"|<script[^>]*(?:mathjax|previews\.js|/book\.js)[^>]*></script>"
    r"|<script>window.MathJax.*?</script>",
    re.S,
)
PAGE = """<!DOCTYPE html>
<html lang="en" data-content_root="./" data-theme="light" data-mode="light">
<head><meta charset="utf-8"><meta name="robots" content="noindex">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}, on one page</title>
{head}
</head>
<body class="onepage"><main class="bd-main"><div class="bd-content">
<div class="bd-article-container"><article class="bd-article">
<nav class="contents"><p class="onepage-title">{title}</p><p>{author} · version {version} ·
<button type="button" onclick="window.print()">Print</button>
<a href="index.html">the book in pages</a></p><ol>{contents}</ol></nav>
{sections}
</article></div></div></main></body></html>
"""


def article(text):
    m = ARTICLE.search(text)
    return m[1] if m else ""


def title(path):
    m = TITLE.search(article(path.read_text(encoding="utf-8")))
    return m[1].strip() if m else path.stem


def here(match, name, pages):
    "An address of a page as it is within the one page."
    attribute, path, anchor = match[1], match[2], match[3]
    if path == "" and anchor:
        return f'{attribute}="#{name}--{anchor}"'
    if re.match(r"[a-z]+:", path):
        return match[0]
    stem = re.sub(r"\.html$", "", path.rsplit("/", 1)[-1])
    if path.endswith(".html") and stem in pages:
        return f'{attribute}="#{stem}{f"--{anchor}" if anchor else ""}"'
    path = re.sub(r"^(\.\./)+", "", path)
    return f'{attribute}="{path}{f"#{anchor}" if anchor else ""}"'


def fitted(text, name, pages):
    """The article of a page with its identifiers under the page's name, and its links to match.

    Only what stands in tags changes."""

    def tag(m):
        t = IDENTIFIER.sub(lambda x: f'{x[1]}="{name}--{x[2]}"', m[0])
        t = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}--\1)", t)
        return LINK.sub(lambda x: here(x, name, pages), t)

    return re.sub(r"<[A-Za-z][^<>]*>", tag, DROPPED.sub("", text))


def section(name, page, path, pages):
    text = fitted(article(path.read_text(encoding="utf-8")), name, pages)
    return f'<section class="page" id="{name}" data-page="{page}">{text}</section>'


def write(out):
    out, cfg = Path(out), settings()
    pages = {p.rsplit("/", 1)[-1]: p for p in toc_pages() if (out / f"{p}.html").exists()}
    paths = {name: out / f"{p}.html" for name, p in pages.items()}
    first = next(iter(paths.values())).read_text(encoding="utf-8")
    head = re.sub(r'(href|src)="(?:\.\./)+', r'\1="', "\n".join(LOADED.findall(first)))
    contents = [f'<li><a href="#{name}">{title(path)}</a></li>' for name, path in paths.items()]
    page = PAGE.format(
        title=html.escape(cfg["title"]),
        author=html.escape(cfg["author"]),
        version=cfg["version"],
        head=head,
        contents="".join(contents),
        sections="".join(section(n, p, paths[n], set(pages)) for n, p in pages.items()),
    )
    (out / "print.html").write_text(page, encoding="utf-8")
