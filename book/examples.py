"""For every public name a statement that ran in this build and uses it.

A statement that calls it and shows what comes of it is best: one that asserts, prints, or ends its
cell. Of those, the first after the definition in a cell that readers see, in the name's own chapter
before others; else one of a hidden cell. What nothing calls is shown where it is mentioned, or
through another name. `calls.py` says what a name or an attribute of a cell stands for."""

import ast
import re
from dataclasses import dataclass, field
from functools import lru_cache

from .calls import Calls
from .chapters import CHECKS, Cell, ast_source, called, names_in, names_of, walked

MOST = 9  # lines of an example
CALLS, LOOSELY, MENTIONS = 1, 2, 3
SHOWING = {"print", "display", "show", "table", "frames"}


@dataclass
class Example:
    "A statement that ran in this build and uses a public name."

    cell: Cell = field(repr=False)
    code: str
    output: str = ""
    via: object = None  # the Definition that it calls, where it reaches the name only through that
    calls: bool = False  # whether it calls the name; otherwise it mentions it


def find_examples(facts):
    calls, usable = Calls(facts), usable_cells(facts)
    for d in facts.definitions.values():
        d.example = direct_example(facts, calls, d, usable)
    shown = {name for d in facts.definitions.values() if d.example for name in returned(d.node)}
    left = [d for d in facts.definitions.values() if d.example is None]
    left += [d for d in facts.definitions.values() if is_mentioned(d) and d.name in shown]
    while left:
        found = [(d, u) for d in left if (u := way_to(facts, d))]
        for d, u in found:
            e = u.example
            d.example = Example(e.cell, e.code, e.output, e.via or u)
        left = [d for d in left if d.example is None]
        if not found:
            break


def is_mentioned(d):
    "Whether the example of a definition only mentions it."
    return d.example is not None and not d.example.calls


def direct_example(facts, calls, d, usable):
    "The statement that uses a definition by its name, the best that there is, or None."
    best, found = None, None
    for cell in candidates(usable, d):
        for i, node in enumerate(cell.tree.body):
            if not (use := use_of(facts, calls, cell, node, d)):
                continue
            rank = rank_of(cell, i, use, d)
            if best is None or rank < best:
                best, found = rank, (cell, i, use)
        if best == 0:
            break
    if found is None:
        return None
    cell, i, use = found
    code, output = excerpt(cell, i, lambda n: use_of(facts, calls, cell, n, d) == use)
    return Example(cell, code, output, calls=use != MENTIONS or not is_code(d))


def is_code(d):
    "Whether a definition is a function or a class, and no constant."
    return isinstance(d.node, (ast.FunctionDef, ast.ClassDef))


def rank_of(cell, i, use, d):
    "How bad an example a statement is: none is better than 0."
    return (
        8 * (use == MENTIONS and is_code(d))
        + 3 * (use == LOOSELY)
        + 2 * (cell.chapter != d.cell.chapter)
        + 2 * cell.hidden
        + 1.5 * (not shows(cell, i))
        + (ast_source(cell, cell.tree.body[i]).count("\n") >= MOST)
    )


def shows(cell, i):
    "Whether a statement, with what reads its result, asserts or prints something."
    body = cell.tree.body
    nodes = body[i : i + 1 + readers(cell, i)]
    if nodes[-1] is body[-1] and isinstance(body[-1], ast.Expr):
        return True
    inside = [n for node in nodes for n in walked(node)]
    names = [called(n) for n in inside if isinstance(n, ast.Call)]
    return any(isinstance(n, ast.Assert) for n in inside) or any(
        name in SHOWING or CHECKS.match(name) for name in names
    )


def readers(cell, i):
    "How many statements follow the assignment i, up to the first that reads its result."
    body = cell.tree.body
    if not isinstance(body[i], ast.Assign):
        return 0
    names = {n.id for t in body[i].targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    for j in range(i + 1, len(body)):
        if body[j].end_lineno - body[i].lineno >= MOST:
            return 0
        if names & names_in(body[j]):
            return j - i
    return 0


def usable_cells(facts):
    "The cells of each chapter that run and are no part of the package or of an exercise."
    return {
        stem: [
            (c, names_of(c.source))
            for c in chapter.cells
            if c.kind == "code" and c.runs and not c.exported and not c.exercise
        ]
        for stem, chapter in facts.chapters.items()
    }


def candidates(usable, d):
    "The cells that may use a definition, in the order in which examples are sought."
    order = list(usable)
    home = order.index(d.cell.chapter)
    for stem in [*order[home:], *order[:home]]:
        cells, goes = usable[stem], d.owner and d.name == "forward"  # an instance is called
        if goes and not (stem == d.cell.chapter or any(d.owner in names for _, names in cells)):
            continue
        if stem == d.cell.chapter:  # a chapter may show at its start what it makes later
            after = [c for c in cells if c[0].index >= d.cell.index]
            cells = after + cells[: len(cells) - len(after)]
        yield from (cell for cell, names in cells if goes or d.name in names)


def use_of(facts, calls, cell, node, d):
    """How a statement uses what d names, the best way, 0 where it does not.

    CALLS: it calls it, reads the property, builds on the class. LOOSELY: it calls what is spelled
    like the method, on something that leads to its class. MENTIONS: it does anything else."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return 0
    if d.name == "forward" and d.owner:
        return CALLS if any(goes_forward(calls, cell, n, d) for n in walked(node)) else 0
    if d.name not in names_in(node):
        return 0
    inside = walked(node)
    called_here = {id(n.func) for n in inside if isinstance(n, ast.Call)}
    called_here |= {id(b) for n in inside if isinstance(n, ast.ClassDef) for b in n.bases}
    best = 0
    for n in inside:
        if getattr(n, "attr", getattr(n, "id", None)) != d.name:
            continue
        if not isinstance(getattr(n, "ctx", None), ast.Load):
            continue
        works = id(n) in called_here or is_property(d)
        if any(t is d or fills_in(calls, t, d) for t in calls.targets(cell, n)):
            use = CALLS if works else MENTIONS
        elif works and loosely(facts, calls, cell, n, d):
            use = LOOSELY
        else:
            continue
        best = min(best or use, use)
    return best


def fills_in(calls, t, d):
    "Whether the method t is what a class makes of the method d, which its base leaves open."
    if not (d.owner and t.owner and t.name == d.name and is_open(d)):
        return False
    base = calls.classes[f"{d.module}.{d.owner}"]
    protocol = any("Protocol" in names_in(b) for b in base.node.bases)
    return protocol or base in calls.bases(calls.classes[f"{t.module}.{t.owner}"])


def is_open(d):
    "Whether a method is left to subclasses."
    body = [n for n in d.node.body if not (isinstance(n, ast.Expr) and is_text(n.value))]
    last = body[-1] if body else None
    return (
        last is None
        or isinstance(last, ast.Expr)
        and isinstance(last.value, ast.Constant)
        or isinstance(last, ast.Raise)
        and "NotImplementedError" in names_in(last)
    )


def is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def is_property(d):
    "Whether a method is called without parentheses."
    marks = [names_in(x) for x in getattr(d.node, "decorator_list", ())]
    return bool(d.owner) and any("property" in n or "cached_property" in n for n in marks)


def goes_forward(calls, cell, n, d):
    "Whether a node calls an instance of the class whose forward d is, or names its forward."
    if not isinstance(n, ast.Call):
        return False
    if getattr(n.func, "attr", "") == "forward":
        return d in calls.targets(cell, n.func)
    if calls.targets(cell, n.func):
        return False
    return any(calls.member(k, "forward") is d for k in calls.infer(cell, n.func))


def loosely(facts, calls, cell, n, d):
    "Whether a method of an object of unknown class, in its own chapter, leads to its class."
    if not d.owner or cell.chapter != d.cell.chapter or not isinstance(n, ast.Attribute):
        return False
    if calls.targets(cell, n) or calls.infer(cell, n.value):
        return False
    chapter = facts.chapters[cell.chapter]
    return d.owner in facts.reach(chapter, cell, names_in(n.value))


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


@lru_cache(None)
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


def excerpt(cell, i, uses):
    """A statement of a cell that uses a name, as it reads on its own, and what it printed.

    After an assignment also what reads its result; of a long one the innermost statement."""
    body, n = cell.tree.body, readers(cell, i)
    nodes, last = body[i : i + 1 + n], i + n == len(body) - 1
    while True:
        text = "\n".join(ast_source(cell, node) for node in nodes)
        inner = [
            n
            for n in ast.walk(nodes[0])
            if isinstance(n, ast.stmt) and n is not nodes[0] and uses(n)
        ]
        if text.count("\n") < MOST or not inner:
            break
        nodes, last = inner[:1], False
    parts = [dedented(cell, node) for node in nodes]
    lines = "\n".join(parts).split("\n")
    code = "\n".join(lines[:MOST] + ["..."] * (len(lines) > MOST))
    return code, cell.output.strip("\n") if last else ""


def dedented(cell, node):
    first, *rest = ast_source(cell, node).split("\n")
    indent = node.col_offset
    return "\n".join([first, *(x[indent:] if not x[:indent].strip() else x for x in rest)])
