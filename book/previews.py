"""What shows when the pointer rests on a link: `_static/previews.js`.

One object {address: HTML} for equations, citations, symbols, names of the package, terms and
chapters. It is a script and not data to fetch, since pages are also read from files."""

import ast
import html
import json
import re
from pathlib import Path

from docutils import nodes

from . import module_file
from .chapters import ast_source
from .equation_map import aligned, passed
from .facts import facts
from .links import SYMBOLS
from .symbols import symbol_groups

FILE = "previews.js"


def inline(text):
    "A line of MyST as HTML: code, mathematics, emphasis; links and citations as their words."
    text = re.sub(r"\s*\{cite(?::\w+)?\}`[^`]*`|\[\]\([^)]*\)", "", text)
    text = re.sub(r"\{[\w:]+\}`(?:~?[\w.]*\.)?([^`<]*?)(?: *<[^`>]*>)?`", r"`\1`", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    held = []

    def hold(m):
        held.append(math(m[2]) if m[1] is None else f"<code>{html.escape(m[1])}</code>")
        return f"\0{len(held) - 1}\0"

    text = html.escape(re.sub(r"`([^`]*)`|\$([^$]+)\$", hold, text), quote=False)
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text)
    return re.sub(r"\0(\d+)\0", lambda m: held[int(m[1])], text)


def math(tex):
    return rf'<span class="math">\({html.escape(tex, quote=False)}\)</span>'


def note(text):
    return f'<p class="note">{text}</p>'


def is_property(node):
    return any(getattr(x, "id", "") == "property" for x in node.decorator_list)


def signature(d):
    "A function's parameters with their defaults, a class by those of its __init__."
    node = d.node
    if isinstance(node, ast.ClassDef):
        node = next((m for m in d.methods if m.name == "__init__"), None)
    elif isinstance(node, ast.FunctionDef) and is_property(node):
        return d.short
    if not isinstance(node, ast.FunctionDef):
        return d.short
    a = node.args
    for x in [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]:
        x.annotation = None
    return f"{d.short}({re.sub(r'^(self|cls)(, )?', '', ast.unparse(a))})"


def url(app, docname, anchor=""):
    return app.builder.get_target_uri(docname) + (f"#{anchor}" if anchor else "")


def url_of(app, name):
    "The address of a name's entry in the reference, or None."
    entry = app.env.get_domain("py").objects.get(name)
    return entry and url(app, entry.docname, entry.node_id)


# each of these yields (address, HTML)


def of_chapters(app):
    for c in facts().chapters.values():
        first = next((cell.source for cell in c.cells if cell.kind == "markdown"), "")
        line = re.search(r"^> (.*)$", first, re.M)
        if c.page in app.env.found_docs:
            about = f"<p>{inline(line[1])}</p>" if line else ""
            yield url(app, c.page), f"<b>{inline(c.name)}</b>{about}"


def of_equations(app):
    f = facts()
    for equation, e in f.equations.items():
        c = f.chapters[e.cell.chapter]
        if c.page not in app.env.found_docs:
            continue
        tex = aligned(e.tex)
        if r"\\" in tex and not tex.startswith(r"\begin{"):
            tex = rf"\begin{{aligned}}{tex}\end{{aligned}}"
        formula = rf"\[{html.escape(tex, quote=False)}\tag{{{equation.tag}}}\]"
        symbols = ", ".join(f"<code>{d.short}</code>" for d in e.symbols)
        proofs = f"{len(passed(e.proofs))} of {len(e.proofs)} proofs passed in this build"
        said = note(f"{inline(c.name)} · {symbols} · {proofs}")
        yield url(app, c.page, equation.target), f'<div class="math">{formula}</div>{said}'


def of_modules(app):
    for c in facts().chapters.values():
        if address := url_of(app, c.module):
            source = module_file(c.module).read_text(encoding="utf-8")
            about = inline(ast.get_docstring(ast.parse(source)) or "")
            said = note(f"exported from {inline(c.name)}")
            yield address, f"<code>{c.module}</code><p>{about}</p>{said}"


def of_names(app):
    f = facts()
    for q, d in f.definitions.items():
        if not (address := url_of(app, q)):
            continue
        back = re.search(r"^\s*\).*?->.*?:\s*#\s*(.*)$", ast_source(d.cell, d.node), re.M)
        shape = isinstance(d.node, ast.FunctionDef) and back
        first = " ".join(d.doc.split("\n\n")[0].split())
        yield (
            address,
            f'<code class="signature">{html.escape(signature(d))}</code><p>{inline(first)}</p>'
            + (f"<p>Returns {inline(shape[1])}</p>" if shape else "")
            + note(f"carat · defined in {inline(f.chapters[d.cell.chapter].name)}"),
        )


def of_symbols(app):
    def said(s):
        number = facts().chapters[s.chapter].number
        parts = [
            inline(s.shape),
            s.code and f"in code {inline(s.code)}",
            f"chapter {number}" if number else "notation",
        ]
        return f"<p>{math(s.tex)} {inline(s.meaning)}</p>" + note(" · ".join(filter(None, parts)))

    if SYMBOLS in app.env.found_docs:
        for key, group in symbol_groups().items():
            yield url(app, SYMBOLS, key), "".join(map(said, group))


def of_citations(app):
    for c in getattr(app.env.get_domain("cite"), "citations", []):
        docname = c.docname if hasattr(c, "docname") else c.bibliography_key.docname
        if text := cite_html(c):
            yield url(app, docname, c.citation_id), f"<p>{text}</p>"


def of_terms(app):
    objects = app.env.get_domain("std").get_objects()
    for docname in sorted({o[3] for o in objects if o[2] == "term"} & app.env.found_docs):
        for term in app.env.get_doctree(docname).findall(nodes.term):
            body = term.parent.next_node(nodes.definition) if term.parent else None
            if term["ids"] and body is not None:
                name, said = html.escape(term.astext()), html.escape(body[0].astext())
                yield url(app, docname, term["ids"][0]), f"<b>{name}</b><p>{said}</p>"


KINDS = of_chapters, of_equations, of_modules, of_names, of_symbols, of_citations, of_terms


def collect(app):
    "{address: HTML} of all that has a preview, and {name: address} of the package's names."
    f = facts()
    previews = {address: said for kind in KINDS for address, said in kind(app)}
    alone = [d for d in f.definitions.values() if len(f.names[d.short]) == 1 and not d.owner]
    names = {d.short: address for d in alone if (address := url_of(app, d.qualified))}
    return previews, names


def cite_html(citation):
    try:
        return citation.formatted_entry.text.render_as("html")
    except Exception:
        return ""


def write(app):
    previews, names = collect(app)
    symbols = app.builder.get_target_uri(SYMBOLS) if SYMBOLS in app.env.found_docs else ""
    book = {"previews": previews, "names": names, "symbols": symbols}
    data = json.dumps(book, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    text = f"var BOOK = {data};\n"
    path = Path(app.outdir) / "_static" / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
