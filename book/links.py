"""Links that nobody has to write, set into a page as it is rendered: "Eq. 4" in prose leads to the equation, inline code that names a public
name of the package to its entry in the reference, and a formula that is a symbol of the chapter's tables to the index of symbols. Within longer
formulas a known symbol carries its id as a class, so that the page can show what it means."""

import ast
import re
from functools import lru_cache

from docutils import nodes
from sphinx import addnodes

from .facts import MENTION, facts, plain_tex
from .made import symbol_id

SYMBOLS, NOTATION = (
    "nbs/symbols",
    "00_start",
)  # the page of the index; the chapter whose symbols hold everywhere
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


def link(builder, docname, to, anchor, child, kind):
    uri = f"#{anchor}" if to == docname else builder.get_relative_uri(docname, to) + f"#{anchor}"
    return nodes.reference("", "", child, internal=True, refuri=uri, classes=[kind])


def link_equations(builder, docname, doctree):
    f, found = facts(), builder.env.found_docs
    for node in list(doctree.findall(nodes.Text)):
        if within(node, (*CLOSED, nodes.literal, nodes.math)) or not (
            hits := list(MENTION.finditer(node))
        ):
            continue
        out, end, text = [], 0, str(node)
        for hit in hits:
            for n in re.finditer(r"(?:Eqs?\.\s*|Equations?\s+)?(\d+)", hit[0]):
                e = f.equations.get(int(n[1]))
                if e is None or f.chapters[e.cell.chapter].page not in found:
                    continue
                a, b = hit.start() + n.start(), hit.start() + n.end()
                out += [
                    nodes.Text(text[end:a]),
                    link(
                        builder,
                        docname,
                        f.chapters[e.cell.chapter].page,
                        f"eq-{n[1]}",
                        nodes.inline("", text[a:b]),
                        "to-equation",
                    ),
                ]
                end = b
        if out:
            node.parent.replace(node, [*out, nodes.Text(text[end:])])


@lru_cache(None)
def imported(chapter):
    "The names that a chapter imports from the package."
    c = facts().chapters.get(chapter)
    out = set()
    for cell in c.cells if c else ():
        if cell.kind == "code":
            for n in ast.walk(cell.tree):
                if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("carat"):
                    out |= {a.asname or a.name for a in n.names}
    return out


def definition_named(text, chapter):
    "The public name that inline code such as `max_pool`, `Queue.enqueue(...)` or `carat.plots.figures.table` stands for, if it is plain which."
    m = re.fullmatch(r"(?:carat\.)?((?:\w+\.)*\w+)(\(.*\))?", text)
    if not m:
        return None
    f, name = facts(), m[1]
    found = f.names.get(name, []) or [
        d for d in f.definitions.values() if d.qualified == f"carat.{name}"
    ]
    home = f.chapters.get(chapter)
    own = [d for d in found if home and d.module == home.module]
    found = (
        own or found or (f.names.get(name.split(".")[0], []) if name[:1].isupper() else [])
    )  # an attribute leads to its class
    if len(found) != 1:
        return None
    d = found[0]
    plain = (
        name.islower() and "_" not in name and "." not in name
    )  # such a word may be somebody's variable
    return d if own or not plain or (name in imported(chapter)) else None


def link_names(builder, docname, doctree):
    objects, chapter = builder.env.get_domain("py").objects, docname.rsplit("/", 1)[-1]
    for node in list(doctree.findall(nodes.literal)):
        if within(node, CLOSED):
            continue
        text = node.astext()
        d = definition_named(text, chapter)
        key = d.qualified if d else text if text in objects and text.startswith("carat.") else None
        if key not in objects:
            continue
        o = objects[key]
        parent = node.parent
        parent.replace(
            node, link(builder, docname, o.docname, o.node_id, node.deepcopy(), "to-reference")
        )


@lru_cache(None)
def symbols_in(chapter):
    "{plain form: id} of the symbols that a chapter knows: those of its own tables, then those of the notation, then what others write with an index."
    known = {}
    for mine in (
        lambda s: re.search(r"[_^]", s.tex),
        lambda s: s.chapter == NOTATION,
        lambda s: s.chapter == chapter,
    ):
        known |= {plain_tex(s.tex): symbol_id(s.tex) for s in facts().symbols if mine(s)}
    return known


def symbol_of(tex, chapter):
    "The id of the symbol that a formula is; t, v and a stand for the modality m."
    known, form = symbols_in(chapter), plain_tex(tex)
    return known.get(form) or known.get(re.sub(r"\^([tva])\b", "^m", form))


TOKEN = re.compile(r"\\\\(?:\s*\[[^\]]*\])?|\\[A-Za-z]+\*?|\\.|[A-Za-z]|\s+|.", re.S)
ACCENTS = {
    rf"\{a}" for a in "tilde hat bar vec boldsymbol mathbf bm mathcal widehat widetilde".split()
}  # a symbol with its argument
VERBATIM = {
    rf"\{a}": n
    for n, names in (
        (
            1,
            "text textbf textit texttt textrm textsf mbox mathtt mathsf tag label begin end operatorname mathbb mathrm hspace vspace color class",
        ),
        (0, "left right big Big bigl bigr"),
    )
    for a in names.split()
}


class Formula:
    "A formula whose symbols are marked: `\\class{symbol-...}{...}` around each that `known` names; nothing else changes."

    def __init__(self, tex, known):
        self.tokens, self.at, self.known = TOKEN.findall(tex), 0, known

    def blanks(self):
        start = self.at
        while self.at < len(self.tokens) and self.tokens[self.at].isspace():
            self.at += 1
        return "".join(self.tokens[start : self.at])

    def argument(self):
        "The next group or token, as it stands."
        out, depth = self.blanks(), 0
        while self.at < len(self.tokens):
            t = self.tokens[self.at]
            self.at += 1
            out += t
            depth += (t == "{") - (t == "}")
            if depth <= 0:
                break
        return out

    def scripts(self):
        "The indices that follow, as they stand, each with its sign."
        out = []
        while self.at < len(self.tokens):
            start = self.at
            blanks = self.blanks()
            if self.at == len(self.tokens) or self.tokens[self.at] not in ("^", "_", "'"):
                self.at = start
                break
            sign = self.tokens[self.at]
            self.at += 1
            if sign == "'":
                out.append((blanks + sign, ""))
            else:
                out.append((blanks + sign, self.argument()))
        return out

    def marked(self):
        out = ""
        while self.at < len(self.tokens):
            t = self.tokens[self.at]
            self.at += 1
            if t in VERBATIM:
                out += t + "".join(self.argument() for _ in range(VERBATIM[t]))
                continue
            if not (t in ACCENTS or re.fullmatch(r"\\?[A-Za-z]+", t)):
                out += t
                continue
            base, scripts = t + (self.argument() if t in ACCENTS else ""), self.scripts()
            spelled = lambda parts: base + "".join(sign.strip() + arg for sign, arg in parts)
            if key := self.known(spelled(scripts)):
                out += rf"\class{{{key}}}{{{base + ''.join(sign + arg for sign, arg in scripts)}}}"
                continue
            plain = [
                (sign.strip(), re.sub(r"\\top|'|\+", "", arg))
                for sign, arg in scripts
                if sign.strip() != "'"
            ]  # transposed, or another of the same
            parts = [plain, *([p] for p in plain), []]
            named = next((p for p in parts if self.known(spelled(p))), None)
            out += base if named is None else rf"\class{{{self.known(spelled(named))}}}{{{base}}}"
            out += "".join(
                sign
                + (
                    arg
                    if named and len(plain) > 1 and named == [(sign.strip(), arg)]
                    else self.index(arg)
                )
                for sign, arg in scripts
            )
        return out

    def index(self, arg):
        "An index with its own symbols marked; words such as rec and pos are none."
        if re.search(r"(?<![A-Za-z\\])[A-Za-z]{2,}", arg):
            return arg
        marked = Formula(arg, self.known).marked()
        return marked if marked == arg or arg.lstrip().startswith("{") else f"{{{marked}}}"


def link_symbols(builder, docname, doctree):
    if SYMBOLS not in builder.env.found_docs or docname == SYMBOLS:
        return
    chapter = docname.rsplit("/", 1)[-1]
    known = lambda tex: symbol_of(tex, chapter)
    for node in [*doctree.findall(nodes.math), *doctree.findall(nodes.math_block)]:
        one = isinstance(node, nodes.math)
        if within(
            node,
            (*(k for k in CLOSED if k is not nodes.math_block), *([nodes.table] if one else [])),
        ):
            continue
        if one and (key := known(node.astext())):
            node.parent.replace(
                node, link(builder, docname, SYMBOLS, key, node.deepcopy(), "to-symbol")
            )
        elif r"\class" not in (tex := node.astext()):
            node.children = [nodes.Text(Formula(tex, known).marked())]


def resolved(app, doctree, docname):
    if app.builder.format != "html":
        return
    link_equations(app.builder, docname, doctree)
    link_names(app.builder, docname, doctree)
    link_symbols(app.builder, docname, doctree)
