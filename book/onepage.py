"""The whole book on one page, `print.html`: the articles of the pages one after another, with their identifiers and links made to fit, for printing."""

import html
import re
from pathlib import Path

from . import settings, toc_pages

ARTICLE = re.compile(r'<article class="bd-article"[^>]*>(.*?)</article>', re.S)


def article(text):
    m = ARTICLE.search(text)
    return m[1] if m else ""


def here(match, name, pages):
    "An address of a page as it is within the one page."
    attribute, path, anchor = match[1], match[2], match[3]
    if path == "" and anchor:
        return f'{attribute}="#{name}--{anchor}"'
    if re.match(r"[a-z]+:", path):
        return match[0]
    stem = re.sub(r"\.html$", "", path.rsplit("/", 1)[-1])
    if path.endswith(".html") and stem in pages:
        return f'{attribute}="#{stem}' + (f"--{anchor}" if anchor else "") + '"'
    return f'{attribute}="{re.sub(r"^(../)+", "", path)}' + (f"#{anchor}" if anchor else "") + '"'


def fitted(text, name, pages):
    "The article of a page with its identifiers under the page's name, and its links to match; only what stands in tags changes."

    def tag(m):
        t = re.sub(
            r'\b(id|for|aria-labelledby|aria-describedby|name)="([^"]+)"',
            lambda x: f'{x[1]}="{name}--{x[2]}"',
            m[0],
        )
        t = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}--\1)", t)
        return re.sub(
            r'\b(xlink:href|href|src)="([^"#]*)(?:#([^"]*))?"', lambda x: here(x, name, pages), t
        )

    text = re.sub(
        r'<a class="headerlink".*?</a>|<script(?! type="application/vnd)[^>]*>.*?</script>',
        "",
        text,
        flags=re.S,
    )
    return re.sub(r"<[A-Za-z][^<>]*>", tag, text)


def write(out):
    out, cfg = Path(out), settings()
    names = {
        p.rsplit("/", 1)[-1]: out / f"{p}.html" for p in toc_pages() if (out / f"{p}.html").exists()
    }
    first = next(iter(names.values())).read_text(encoding="utf-8")
    head = "\n".join(
        re.findall(
            r'<link [^>]*rel="(?:stylesheet|preload stylesheet)"[^>]*>|<script[^>]*(?:mathjax|previews\.js|/book\.js)[^>]*></script>|<script>window.MathJax.*?</script>',
            first,
            re.S,
        )
    )
    head = re.sub(r'(href|src)="(?:\.\./)+', r'\1="', head)
    parts = []
    for name, path in names.items():
        parts.append(
            f'<section class="page" id="{name}">{fitted(article(path.read_text(encoding="utf-8")), name, set(names))}</section>'
        )
    contents = "".join(
        f'<li><a href="#{name}">{title(path)}</a></li>' for name, path in names.items()
    )
    page = f"""<!DOCTYPE html>
<html lang="en" data-content_root="./" data-theme="light" data-mode="light">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">
<title>{html.escape(cfg["title"])}, on one page</title>
{head}
</head>
<body class="onepage"><main class="bd-main"><div class="bd-content"><div class="bd-article-container"><article class="bd-article">
<nav class="contents"><p class="onepage-title">{html.escape(cfg["title"])}</p><p>{html.escape(cfg["author"])} · version {cfg["version"]} · <button type="button" onclick="window.print()">Print</button>
<a href="index.html">the book in pages</a></p><ol>{contents}</ol></nav>
{"".join(parts)}
</article></div></div></main></body></html>
"""
    (out / "print.html").write_text(page, encoding="utf-8")


def title(path):
    m = re.search(
        r"<h1>(.*?)<a class=\"headerlink\"", article(path.read_text(encoding="utf-8")), re.S
    )
    return m[1].strip() if m else path.stem
