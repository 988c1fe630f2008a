"""Links that nobody has to write, set into a page as it is rendered: "Eq. 4" in prose leads to the equation, inline code that names a public
name of the package to its entry in the reference, and a formula that is a symbol of the chapter's tables to the index of symbols."""
import ast
import re
from functools import lru_cache

from docutils import nodes
from sphinx import addnodes

from .facts import MENTION, facts, plain_tex
from .made import symbol_id

SYMBOLS, NOTATION = "nbs/symbols", "00_start" # the page of the index; the chapter whose symbols hold everywhere
CLOSED = (nodes.title, nodes.reference, nodes.literal_block, nodes.math_block, nodes.raw, nodes.comment, addnodes.desc_signature, addnodes.pending_xref, nodes.target, nodes.rubric)


def within(node, kinds):
    while node := node.parent:
        if isinstance(node, kinds): return True
    return False


def link(builder, docname, to, anchor, child, kind):
    uri = f"#{anchor}" if to == docname else builder.get_relative_uri(docname, to) + f"#{anchor}"
    return nodes.reference("", "", child, internal=True, refuri=uri, classes=[kind])


def link_equations(builder, docname, doctree):
    f, found = facts(), builder.env.found_docs
    for node in list(doctree.findall(nodes.Text)):
        if within(node, (*CLOSED, nodes.literal, nodes.math)) or not (hits := list(MENTION.finditer(node))): continue
        out, end, text = [], 0, str(node)
        for hit in hits:
            for n in re.finditer(r"(?:Eqs?\.\s*|Equations?\s+)?(\d+)", hit[0]):
                e = f.equations.get(int(n[1]))
                if e is None or f.chapters[e.cell.chapter].page not in found: continue
                a, b = hit.start() + n.start(), hit.start() + n.end()
                out += [nodes.Text(text[end:a]), link(builder, docname, f.chapters[e.cell.chapter].page, f"eq-{n[1]}", nodes.inline("", text[a:b]), "to-equation")]
                end = b
        if out: node.parent.replace(node, [*out, nodes.Text(text[end:])])


@lru_cache(None)
def imported(chapter):
    "The names that a chapter imports from the package."
    c = facts().chapters.get(chapter)
    out = set()
    for cell in c.cells if c else ():
        if cell.kind == "code":
            for n in ast.walk(cell.tree):
                if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("carat"): out |= {a.asname or a.name for a in n.names}
    return out


def definition_named(text, chapter):
    "The public name that inline code such as `max_pool`, `Queue.enqueue(...)` or `carat.plots.table` stands for, if it is plain which."
    m = re.fullmatch(r"(?:carat\.)?((?:\w+\.)*\w+)(\(.*\))?", text)
    if not m: return None
    f, name = facts(), m[1]
    found = f.names.get(name, []) or [d for d in f.definitions.values() if d.qualified == f"carat.{name}"]
    home = f.chapters.get(chapter)
    own = [d for d in found if home and d.module == home.module]
    found = own or found or (f.names.get(name.split(".")[0], []) if name[:1].isupper() else []) # an attribute leads to its class
    if len(found) != 1: return None
    d = found[0]
    plain = name.islower() and "_" not in name and "." not in name # such a word may be somebody's variable
    return d if own or not plain or (name in imported(chapter)) else None


def link_names(builder, docname, doctree):
    objects, chapter = builder.env.get_domain("py").objects, docname.rsplit("/", 1)[-1]
    for node in list(doctree.findall(nodes.literal)):
        if within(node, CLOSED): continue
        text = node.astext()
        d = definition_named(text, chapter)
        key = d.qualified if d else text if text in objects and text.startswith("carat.") else None
        if key not in objects: continue
        o = objects[key]
        parent = node.parent
        parent.replace(node, link(builder, docname, o.docname, o.node_id, node.deepcopy(), "to-reference"))


@lru_cache(None)
def symbols_in(chapter):
    "{plain form: id} of the symbols that a chapter knows: those of its own tables, and those of the notation."
    known = {}
    for own in (False, True):
        for s in facts().symbols:
            if s.chapter == chapter if own else s.chapter == NOTATION: known[plain_tex(s.tex)] = symbol_id(s.tex)
    return known


def symbol_of(tex, chapter):
    "The id of the symbol that a formula is; t, v and a stand for the modality m."
    known, form = symbols_in(chapter), plain_tex(tex)
    return known.get(form) or known.get(re.sub(r"\^([tva])\b", "^m", form))


def link_symbols(builder, docname, doctree):
    if SYMBOLS not in builder.env.found_docs or docname == SYMBOLS: return
    chapter = docname.rsplit("/", 1)[-1]
    for node in list(doctree.findall(nodes.math)):
        if within(node, (*CLOSED, nodes.table)): continue
        if key := symbol_of(node.astext(), chapter): node.parent.replace(node, link(builder, docname, SYMBOLS, key, node.deepcopy(), "to-symbol"))


def resolved(app, doctree, docname):
    if app.builder.format != "html": return
    link_equations(app.builder, docname, doctree)
    link_names(app.builder, docname, doctree)
    link_symbols(app.builder, docname, doctree)
