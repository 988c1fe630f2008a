"""Which cells of a chapter must run before others can.

A cell needs the cells that bind the names it uses, and those that change what is bound to them."""

import ast
from functools import lru_cache

from .chapters import parsed

FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda
COMPREHENSIONS = ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp
IMPORTS = ast.Import, ast.ImportFrom


def bound(node):
    "The names that code binds in its own scope: by assignment, definition, import or loop."
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Lambda, *COMPREHENSIONS)):
        return set()
    if isinstance(node, IMPORTS):
        return {a.asname or a.name.split(".")[0] for a in node.names}
    here = {node.id} if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else set()
    return here.union(*map(bound, ast.iter_child_nodes(node)))


def own_names(function):
    "The parameters and variables of a function, or the variables of a comprehension."
    found = {a.arg for a in ast.walk(function) if isinstance(a, ast.arg)}
    names = [n for n in ast.walk(function) if isinstance(n, ast.Name)]
    return found | {n.id for n in names if isinstance(n.ctx, ast.Store)}


def defaults(node):
    return [d for d in (*node.args.defaults, *node.args.kw_defaults) if d]


def free(node):
    "The names that code takes from outside, in functions too."
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Load) else set()
    found = set().union(*map(free, ast.iter_child_nodes(node)))
    if isinstance(node, ast.AugAssign):
        found |= {n for n in [base(node.target)] if n}
    if isinstance(node, (*FUNCTIONS, *COMPREHENSIONS)):
        found -= own_names(node)
    if isinstance(node, FUNCTIONS):  # defaults are evaluated outside
        found = found.union(*map(free, defaults(node)))
    return found


def base(node):
    "The name that an expression such as `model.h.weight[0]` begins with, or None."
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call, ast.Starred)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def in_place(call):
    "Whether a call is named as those that change their arguments: `x.zero_()`, `init.zeros_(x)`."
    return isinstance(call.func, ast.Attribute) and call.func.attr.endswith("_")


def changed(tree):
    "The names of objects that code changes, as far as its form says so."
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Subscript)):
            if not isinstance(node.ctx, ast.Load):
                found.add(base(node))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            found.add(base(node.value))
        elif isinstance(node, ast.Call) and in_place(node):
            found |= {base(node.func), *map(base, node.args)}
    return found - {None}


def taken(body):
    "The names that statements use without having bound them before."
    found, here, later = set(), set(), set()
    for node in body:
        uses = free(node)
        if isinstance(node, ast.For):
            uses -= bound(node.target) - free(node.iter)
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            later |= uses  # not before they are called
        else:
            found |= uses - here
        here |= bound(node)
    return found | later - here


@lru_cache(None)
def names(source):
    "What a cell binds, what it takes from other cells, and what it changes."
    tree = parsed(source)
    return frozenset(bound(tree)), frozenset(taken(tree.body)), frozenset(changed(tree))


@lru_cache(None)
def imported(source):
    "The names that a cell imports; a call of one changes nothing."
    nodes = [n for n in ast.walk(parsed(source)) if isinstance(n, IMPORTS)]
    return frozenset().union(*map(bound, nodes))


def needed(cells, wanted):
    "Of the cells of a chapter, in order, those that must run for the wanted ones to run."
    take = before(cells, wanted)
    # a function may use a name that is bound after it: `before` does not look there
    open_ = {n for c in take for n in names(c.source)[1]} - {n for c in take for n in binds(c)}
    late = [c for c in cells if c not in take and binds(c) & open_]
    return needed(cells, [*take, *late]) if late else take


def binds(cell):
    return names(cell.source)[0]


def before(cells, wanted):
    "The wanted cells and those before them that bind what they use, or change it."
    modules = frozenset().union(*(imported(c.source) for c in cells))
    take, missing = [], set()
    for cell in reversed(cells):
        binds, takes, changes = names(cell.source)
        if cell in wanted or binds & missing or (changes - modules) & missing:
            take.append(cell)
            missing = (missing - binds) | takes
    return take[::-1]
