"""For every public name a statement that ran in this build and uses it.

The first after its definition, then before it, in its own chapter before others: one that calls
it, else one that mentions it, both in cells that readers see; else one of a hidden cell; else one
that reaches it through another name."""

import ast
import re
from dataclasses import dataclass, field

from .chapters import Cell, ast_source, names_in, names_of

CALLS, MENTIONS, NOT_AT_ALL = 1, 2, 9


@dataclass
class Example:
    "A statement that ran in this build and uses a public name."

    cell: Cell = field(repr=False)
    code: str
    output: str = ""
    via: object = None  # the Definition that it calls, where it reaches the name only through that


def find_examples(facts):
    for d in facts.definitions.values():
        d.example = direct_example(facts, d)
    left = [d for d in facts.definitions.values() if d.example is None]
    while left:
        found = [(d, u) for d in left if (u := way_to(facts, d))]
        for d, u in found:
            e = u.example
            d.example = Example(e.cell, e.code, e.output, e.via or u)
        left = [d for d in left if d.example is None]
        if not found:
            break


def direct_example(facts, d):
    "The statement that uses a definition by its name, the best that there is, or None."
    best, found = NOT_AT_ALL, None
    for cell in candidates(facts, d):
        for node in cell.tree.body:
            if d.name not in names_in(node):
                continue
            use = use_of(facts, cell, node, d)
            rank = use + 2 * cell.hidden if use else NOT_AT_ALL
            if rank < best:
                best, found = rank, (cell, node)
        if best == CALLS:
            break
    if found is None:
        return None
    cell, node = found
    code, output = excerpt(cell, node, lambda n: use_of(facts, cell, n, d))
    return Example(cell, code, output)


def candidates(facts, d):
    "The cells that run and hold a definition's name, in the order in which examples are sought."
    order = list(facts.chapters)
    home = order.index(d.cell.chapter)
    for stem in [*order[home:], *order[:home]]:
        cells = facts.chapters[stem].cells
        if stem == d.cell.chapter:  # a chapter may show at its start what it makes later
            cells = cells[d.cell.index :] + cells[: d.cell.index]
        for cell in cells:
            if cell.kind != "code" or not cell.runs or cell.exported or cell.exercise:
                continue
            if d.name in names_of(cell.source):
                yield cell


def use_of(facts, cell, node, d):
    """CALLS where a statement calls what d names, MENTIONS where it mentions it, 0 for neither.

    A method counts where what it is called on leads to its class."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return 0
    found = 0
    for n in ast.walk(node):
        called = isinstance(n, ast.Call)
        f = n.func if called else n
        if getattr(f, "attr", getattr(f, "id", None)) != d.name or (found and not called):
            continue
        if fits(facts, cell, f, d):
            found = CALLS if called else MENTIONS
        if found == CALLS:
            break
    return found


def fits(facts, cell, f, d):
    "Whether a name or attribute that is spelled like a definition stands for it."
    attribute = isinstance(f, ast.Attribute)
    if d.owner:
        chapter = facts.chapters[cell.chapter]
        return attribute and d.owner in facts.reach(chapter, cell, names_in(f.value))
    return isinstance(f, ast.Name) or (attribute and names_in(f.value) <= set(d.module.split(".")))


def way_to(facts, d):
    "The definition with an example that leads to d: what returns it, what uses it, its class."
    shown = [u for u in facts.definitions.values() if u.example]
    by = [] if d.owner else [u for u in shown if d.name in returned(u.node)]
    by = by or [u for u in shown if u.qualified != d.qualified and leads_to(facts, u, d)]
    by = by or [u for u in shown if d.owner and u.qualified == f"{d.module}.{d.owner}"]

    def distance(u):
        return u.cell.chapter != d.cell.chapter, bool(u.example.via), bool(u.example.cell.hidden)

    return min(by, key=distance, default=None)


def leads_to(facts, u, d):
    "Whether u uses the name of d; of a method, only where u is its class or uses that too."
    uses = facts.uses[u.qualified]
    return d.name in uses and (not d.owner or u.short == d.owner or d.owner in uses)


def returned(node):
    "The names in the annotation of what a function returns."
    back = getattr(node, "returns", None)
    if back is None:
        return set()
    texts = [n.value for n in ast.walk(back) if isinstance(n, ast.Constant)]
    texts = [t for t in texts if isinstance(t, str)]
    if isinstance(back, ast.Constant) and texts:
        return set(re.findall(r"\w+", back.value))
    return {n.id for n in ast.walk(back) if isinstance(n, ast.Name)} | set(texts)


def excerpt(cell, node, uses, most=9):
    """The statement of a cell that uses a name, as it reads on its own, and what it printed.

    Where it is long, the innermost statement that uses the name."""
    last = node is cell.tree.body[-1]
    while True:
        text = ast_source(cell, node)
        inner = [n for n in ast.walk(node) if isinstance(n, ast.stmt) and n is not node and uses(n)]
        if text.count("\n") < most or not inner:
            break
        node, last = inner[0], False
    first, *rest = text.split("\n")
    indent = node.col_offset
    lines = [first, *(x[indent:] if not x[:indent].strip() else x for x in rest)]
    code = "\n".join(lines[:most] + ["..."] * (len(lines) > most))
    return code, cell.output.strip("\n") if last else ""
