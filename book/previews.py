"""What shows when the pointer rests on a link: `_static/previews.js`, one object {address: HTML} for equations, citations, symbols, names of the
package, terms and chapters. It is a script and not data to fetch, since pages are also read from files."""

import ast
import html
import json
import re
from pathlib import Path

from docutils import nodes

from . import module_file
from .facts import facts
from .links import SYMBOLS
from .made import symbol_groups

FILE = "previews.js"


def inline(text):
    "A line of MyST as HTML: code, mathematics, emphasis; links and citations as their words."
    text = re.sub(r"\s*\{cite(?::\w+)?\}`[^`]*`|\[\]\([^)]*\)", "", text)
    text = re.sub(r"\{[\w:]+\}`(?:~?[\w.]*\.)?([^`<]*?)(?: *<[^`>]*>)?`", r"`\1`", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    held = []

    def hold(m):
        held.append(f"<code>{html.escape(m[1])}</code>" if m[1] is not None else math(m[2]))
        return f"\0{len(held) - 1}\0"

    text = html.escape(re.sub(r"`([^`]*)`|\$([^$]+)\$", hold, text), quote=False)
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text)
    return re.sub(r"\0(\d+)\0", lambda m: held[int(m[1])], text)


def math(tex):
    return rf'<span class="math">\({html.escape(tex, quote=False)}\)</span>'


def signature(d):
    "As in the code: a function's parameters with their defaults, a class by those of its __init__ or its fields."
    node = d.node
    if isinstance(node, ast.ClassDef):
        node = next((m for m in d.methods if m.name == "__init__"), None)
    if not isinstance(node, ast.FunctionDef) or any(
        getattr(x, "id", "") == "property"
        for x in d.node.decorator_list
        if isinstance(d.node, ast.FunctionDef)
    ):
        return d.short
    a = node.args
    for x in [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]:
        x.annotation = None
    text = ast.unparse(a)
    return f"{d.short}({re.sub(r'^(self|cls)(, )?', '', text)})"


def collect(app):
    "{address: HTML} of everything that can be linked to and has a preview, and {name: address} of the package's names."
    f, env, out, names = facts(), app.env, {}, {}

    def url(docname, anchor=""):
        return app.builder.get_target_uri(docname) + (f"#{anchor}" if anchor else "")

    def note(text):
        return f'<p class="note">{text}</p>'

    for c in f.chapters.values():
        if c.page not in env.found_docs:
            continue
        first = next((cell.source for cell in c.cells if cell.kind == "markdown"), "")
        line = re.search(r"^> (.*)$", first, re.M)
        out[url(c.page)] = f"<b>{inline(c.name)}</b>" + (
            f"<p>{inline(line[1])}</p>" if line else ""
        )
    for n, e in f.equations.items():
        c = f.chapters[e.cell.chapter]
        if c.page not in env.found_docs:
            continue
        tex = e.tex.replace("{align}", "{aligned}").replace("{gather}", "{gathered}")
        if r"\\" in tex and not tex.startswith(r"\begin{"):
            tex = rf"\begin{{aligned}}{tex}\end{{aligned}}"
        out[url(c.page, f"eq-{n}")] = (
            rf'<div class="math">\[{html.escape(tex, quote=False)}\tag{{{n}}}\]</div>'
            + note(
                f"{inline(c.name)} · {', '.join(f'<code>{d.short}</code>' for d in e.symbols)}"
                f" · {sum(p.runs and not p.failed and p.seconds is not None for p in e.proofs)} of {len(e.proofs)} proofs passed in this build"
            )
        )
    objects = env.get_domain("py").objects
    for c in f.chapters.values():
        if c.module in objects:
            about = (
                ast.get_docstring(ast.parse(module_file(c.module).read_text(encoding="utf-8")))
                or ""
            )
            out[url(objects[c.module].docname, objects[c.module].node_id)] = (
                f"<code>{c.module}</code><p>{inline(about)}</p>"
                + note(f"exported from {inline(c.name)}")
            )
    for q, d in f.definitions.items():
        if q not in objects:
            continue
        c, address = f.chapters[d.cell.chapter], url(objects[q].docname, objects[q].node_id)
        returns = (
            re.findall(r"^\s*\).*?->.*?:\s*#\s*(.*)$", ast_text(d), re.M)[:1]
            if isinstance(d.node, ast.FunctionDef)
            else []
        )
        shape = f"<p>Returns {inline(returns[0])}</p>" if returns else ""
        out[address] = (
            f'<code class="signature">{html.escape(signature(d))}</code><p>{inline(" ".join(d.doc.split(chr(10) * 2)[0].split()))}</p>{shape}'
            + note(f"carat · defined in {inline(c.name)}")
        )
        if len(f.names[d.short]) == 1 and not d.owner:
            names[d.short] = address
    if SYMBOLS in env.found_docs:
        for key, group in symbol_groups().items():
            out[url(SYMBOLS, key)] = "".join(
                f"<p>{math(s.tex)} {inline(s.meaning)}</p>"
                + note(
                    " · ".join(
                        filter(
                            None,
                            (
                                inline(s.shape),
                                s.code and f"in code {inline(s.code)}",
                                f"chapter {f.chapters[s.chapter].number}"
                                if f.chapters[s.chapter].number
                                else "notation",
                            ),
                        )
                    )
                )
                for s in group
            )
    cite = env.get_domain("cite")
    for c in getattr(cite, "citations", []):
        text = cite_html(c)
        if text:
            out[
                url(
                    c.docname if hasattr(c, "docname") else c.bibliography_key.docname,
                    c.citation_id,
                )
            ] = f"<p>{text}</p>"
    for docname in env.found_docs:
        if not any(o[2] == "term" and o[3] == docname for o in env.get_domain("std").get_objects()):
            continue
        for term in env.get_doctree(docname).findall(nodes.term):
            body = term.parent.next_node(nodes.definition) if term.parent else None
            if term["ids"] and body is not None:
                out[url(docname, term["ids"][0])] = (
                    f"<b>{html.escape(term.astext())}</b><p>{html.escape(body[0].astext())}</p>"
                )
    return out, names


def ast_text(d):
    return ast.get_source_segment(d.cell.source, d.node) or ""


def cite_html(citation):
    try:
        return citation.formatted_entry.text.render_as("html")
    except Exception:
        return ""


def write(app):
    out, names = collect(app)
    symbols = app.builder.get_target_uri(SYMBOLS) if SYMBOLS in app.env.found_docs else ""
    text = f"var BOOK = {json.dumps({'previews': out, 'names': names, 'symbols': symbols}, ensure_ascii=False, separators=(',', ':'), sort_keys=True)};\n"
    path = Path(app.outdir) / "_static" / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
