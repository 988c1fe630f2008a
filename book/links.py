"""Links that nobody has to write, set into a page as it is rendered.

"Eq. 4" in prose leads to the equation, inline code that names a public name of the package to its
entry in the reference, and a formula that is a symbol of the chapter's tables to the index of
symbols. Within longer formulas a known symbol carries its id as a class, so that the page can show
what it means."""

import ast
import re
from functools import lru_cache, partial

from docutils import nodes
from sphinx import addnodes

from . import API, modules
from .equations import CARAT, mentions
from .facts import facts, plain_tex
from .formula import Formula
from .symbols import spoken, symbol_groups, symbol_id

SYMBOLS = "nbs/symbols"  # the page of the index
NOTATION = "02_notation"  # the chapter whose symbols hold everywhere
CLOSED = (
    nodes.title,
    nodes.reference,
    nodes.literal_block,
    nodes.math_block,
    nodes.raw,
    nodes.comment,
    addnodes.desc_signature,
    addnodes.pending_xref,
    nodes.target,
    nodes.rubric,
)


def within(node, kinds):
    while node := node.parent:
        if isinstance(node, kinds):
            return True
    return False


def chapter_of(docname):
    "The chapter that a page shows: itself, or what exports the module that it is about."
    name = docname.rsplit("/", 1)[-1]
    return modules().get(name, name) if docname.startswith(f"{API}/") else name


def paper_of(docname):
    "The paper whose equations go without a name on a page."
    chapter = facts().chapters.get(chapter_of(docname))
    return chapter.paper if chapter else CARAT


def link(builder, docname, to, anchor, child, kind):
    uri = f"#{anchor}" if to == docname else builder.get_relative_uri(docname, to) + f"#{anchor}"
    return nodes.reference("", "", child, internal=True, refuri=uri, classes=[kind])


def link_equations(builder, docname, doctree):
    f, found, paper = facts(), builder.env.found_docs, paper_of(docname)
    for node in list(doctree.findall(nodes.Text)):
        if within(node, (*CLOSED, nodes.literal, nodes.math)):
            continue
        out, end, text = [], 0, str(node)
        for a, b, equation, _ in mentions(text, paper):
            e = f.equations.get(equation)
            page = e and f.chapters[e.cell.chapter].page
            if page not in found:
                continue
            said = nodes.inline("", text[a:b])
            out.append(nodes.Text(text[end:a]))
            out.append(link(builder, docname, page, equation.target, said, "to-equation"))
            end = b
        if out:
            node.parent.replace(node, [*out, nodes.Text(text[end:])])


@lru_cache(None)
def imported(chapter):
    "The names that a chapter imports from the package."
    c = facts().chapters.get(chapter)
    trees = [cell.tree for cell in c.cells if cell.kind == "code"] if c else []
    found = [n for t in trees for n in ast.walk(t) if isinstance(n, ast.ImportFrom)]
    ours = [n for n in found if (n.module or "").startswith("carat")]
    return {a.asname or a.name for n in ours for a in n.names}


def definition_named(text, chapter):
    """The public name that inline code stands for, if it is plain which.

    The code may be `max_pool`, `Queue.enqueue(...)` or `carat.plots.figures.table`."""
    m = re.fullmatch(r"(?:carat\.)?((?:\w+\.)*\w+)(\(.*\))?", text)
    if not m:
        return None
    f, name, home = facts(), m[1], facts().chapters.get(chapter)
    qualified = f.definitions.get(f"carat.{name}")
    found = f.names.get(name) or ([qualified] if qualified else [])
    own = [d for d in found if home and d.module == home.module]
    by_class = f.names.get(name.split(".")[0], []) if name[:1].isupper() else []
    found = own or found or by_class  # an attribute leads to its class
    if len(found) != 1:
        return None
    # such a word may be somebody's variable
    plain = name.islower() and "_" not in name and "." not in name
    return found[0] if own or not plain or name in imported(chapter) else None


def link_names(builder, docname, doctree):
    objects, chapter = builder.env.get_domain("py").objects, docname.rsplit("/", 1)[-1]
    for node in list(doctree.findall(nodes.literal)):
        if within(node, CLOSED):
            continue
        text = node.astext()
        d = definition_named(text, chapter)
        key = d.qualified if d else text
        if key not in objects or not key.startswith("carat."):
            continue
        o = objects[key]
        said = node.deepcopy()
        entry = link(builder, docname, o.docname, o.node_id, said, "to-reference")
        node.parent.replace(node, entry)


@lru_cache(None)
def symbols_in(chapter):
    """{plain form: id} of the symbols that a chapter knows.

    Those of its own tables, then those of the notation, then what other chapters on the same paper
    write with an index."""
    f, known = facts(), {}
    paper = f.chapters[chapter].paper if chapter in f.chapters else CARAT
    indexed = [s for s in f.symbols if re.search(r"[_^]", s.tex)]
    same = [s for s in indexed if f.chapters[s.chapter].paper == paper]
    notation = [s for s in f.symbols if s.chapter == NOTATION]
    own = [s for s in f.symbols if s.chapter == chapter]
    for s in [*same, *notation, *own]:
        known[plain_tex(s.tex)] = symbol_id(s.tex)
    return known


def symbol_of(tex, chapter):
    "The id of the symbol that a formula is; t, v and a stand for the modality m."
    known, form = symbols_in(chapter), plain_tex(tex)
    return known.get(form) or known.get(re.sub(r"\^([tva])\b", "^m", form))


@lru_cache(None)
def sections_of_others():
    "{id of a section of the map: chapter} of the equations of other papers than CARAT."
    entries = facts().equations.items()
    return {f"map-{e.target}": entry.cell.chapter for e, entry in entries if e.paper != CARAT}


def chapter_around(node):
    "The chapter of another paper's equation in whose section on the map a node is, or None."
    while node := node.parent:
        if isinstance(node, nodes.section):
            for name in node["ids"]:
                if name in sections_of_others():
                    return sections_of_others()[name]
    return None


def link_symbols(builder, docname, doctree):
    if SYMBOLS not in builder.env.found_docs or docname == SYMBOLS:
        return
    chapter = chapter_of(docname)
    closed = tuple(k for k in CLOSED if k is not nodes.math_block)
    for node in [*doctree.findall(nodes.math), *doctree.findall(nodes.math_block)]:
        inline = isinstance(node, nodes.math)
        if within(node, (*closed, nodes.table) if inline else closed):
            continue
        tex = node.astext()
        known = partial(symbol_of, chapter=chapter_around(node) or chapter)
        if inline and (key := known(tex)):
            said = node.deepcopy()
            node.parent.replace(node, link(builder, docname, SYMBOLS, key, said, "to-symbol"))
        elif r"\class" not in tex:
            node.children = [nodes.Text(Formula(tex, known).marked())]


@lru_cache(None)
def symbol_names():
    "{id: what a link to the symbol is called}."
    return {key: f"symbol {spoken(group[0].tex)}" for key, group in symbol_groups().items()}


def with_names(html):
    """A page whose links and folded cells have the names that readers hear.

    The list of references loses its role, because it holds more than its entries: links back."""

    def named(m):
        return f'{m[0]} aria-label="{symbol_names().get(m[1], "symbol")}"'

    html = html.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    html = html.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    return re.sub(r'<a class="to-symbol [^>]*?href="[^"#]*#(symbol-[^"]+)"', named, html)


def resolved(app, doctree, docname):
    if app.builder.format != "html":
        return
    link_equations(app.builder, docname, doctree)
    link_names(app.builder, docname, doctree)
    link_symbols(app.builder, docname, doctree)
