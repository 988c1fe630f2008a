"""What a cell's code calls: its names traced to the public names of the package.

A name leads to a definition where the chapter imports it or exports it itself, an attribute where
what stands before the dot is a module, a class, or an instance of a known class. The class of an
expression is read from calls of classes, annotations, and the chapter's own helpers; where that
says nothing, the class is unknown."""

import ast
from collections import defaultdict

from .chapters import names_in

SAME = {"double", "float", "eval", "train", "to", "cpu", "requires_grad_", "select", "copy"}
BY_KIND = {"make_model", "system"}  # they are given the name of a system
FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda
DEEP = 12  # steps from an expression to its class


class Calls:
    "The definitions that expressions of the chapters' cells stand for."

    def __init__(self, facts):
        self.facts, self._bound, self._inferred, self._targets = facts, {}, {}, {}
        self.by_name = defaultdict(list)
        for d in facts.definitions.values():
            self.by_name[d.name].append(d)
        self.classes = {
            d.qualified: d for d in facts.definitions.values() if isinstance(d.node, ast.ClassDef)
        }

    # names

    def bound(self, stem):
        "What the cells of a chapter bind: {name: [(cell, node that says what it is)]}."
        if stem not in self._bound:
            self._bound[stem] = out = defaultdict(list)
            for cell in self.facts.chapters[stem].cells:
                for node in ast.walk(cell.tree) if cell.kind == "code" else ():
                    for name, value in bindings(node):
                        out[name].append((cell, value))
        return self._bound[stem]

    def latest(self, cell, name):
        "The bindings of a name that a cell sees: its own, else those of the last cell before it."
        known = [(c.index, value) for c, value in self.bound(cell.chapter)[name]]
        before = [i for i, _ in known if i <= cell.index] or [i for i, _ in known]
        return [value for i, value in known if i == max(before, default=None)]

    def module(self, cell, node):
        "The module that an expression names, or None."
        if isinstance(node, ast.Attribute):
            base = self.module(cell, node.value)
            return base and f"{base}.{node.attr}"
        for value in self.latest(cell, node.id) if isinstance(node, ast.Name) else ():
            if isinstance(value, str) and value.startswith("carat"):
                return value
        return None

    def within(self, path):
        "What a dotted path names: a definition of the module, or of one that it is made of."
        module, _, name = path.rpartition(".")
        found = [d for d in self.by_name[name] if not d.owner]
        exact = [d for d in found if d.module == module]
        return exact or [d for d in found if d.module.startswith(f"{module}.")]

    def targets(self, cell, node, deep=0):
        "The definitions that a name or an attribute stands for."
        if deep > DEEP or not isinstance(node, (ast.Name, ast.Attribute)):
            return []
        key = cell.anchor, node
        if key not in self._targets:
            self._targets[key] = []  # where a name is made of itself
            self._targets[key] = self.find_targets(cell, node, deep)
        return self._targets[key]

    def find_targets(self, cell, node, deep):
        if isinstance(node, ast.Name):
            here = [
                d for d in self.by_name[node.id] if not d.owner and d.cell.chapter == cell.chapter
            ]
            values = self.latest(cell, node.id) if not here else ()
            return here or [d for v in values if isinstance(v, str) for d in self.within(v)]
        if path := self.module(cell, node):
            return self.within(path)
        owners = [
            d for d in self.targets(cell, node.value, deep + 1) if d.qualified in self.classes
        ]
        owners += self.infer(cell, node.value, deep + 1)
        found = [self.member(k, node.attr) for k in owners]
        return [d for d in found if d]

    def bases(self, cls):
        "The public classes that a class inherits from, itself first."
        out = [cls]
        for base in cls.node.bases:
            for d in self.targets(cls.cell, base):
                if d.qualified in self.classes and d not in out:
                    out += self.bases(d)
        return out

    def member(self, cls, name):
        "The documented method of a class, or of the nearest class that it inherits one from."
        for k in self.bases(cls):
            if d := self.facts.definitions.get(f"{k.qualified}.{name}"):
                return d
        return None

    # classes

    def infer(self, cell, node, deep=0):
        "The public classes that an expression, or what it holds, may be an instance of."
        if deep > DEEP or not isinstance(node, ast.AST):
            return []
        key = cell.anchor, node
        if key not in self._inferred:
            self._inferred[key] = []
            self._inferred[key] = self.find_classes(cell, node, deep)
        return self._inferred[key]

    def find_classes(self, cell, node, deep):
        again = [self.infer(cell, n, deep + 1) for n in parts_of(node)]
        found = [d for part in again for d in part]
        if isinstance(node, ast.Name):
            for value in self.latest(cell, node.id):
                found += self.infer(cell, value, deep + 1) if isinstance(value, ast.AST) else []
        elif isinstance(node, ast.Attribute):
            for k in self.infer(cell, node.value, deep + 1):
                found += self.of_attribute(k, node.attr, deep + 1)
        elif isinstance(node, ast.Subscript):
            held = [self.of_method(k, "__getitem__") for k in found]
            found = [d for part in held for d in part] or found
        elif isinstance(node, ast.Call):
            found += self.of_call(cell, node, deep + 1)
        return list({d.qualified: d for d in found}.values())

    def of_call(self, cell, call, deep):
        f, found = call.func, []
        if isinstance(f, ast.Attribute) and f.attr in SAME:
            found += self.infer(cell, f.value, deep)
        called = self.targets(cell, f, deep)
        for d in called:
            if d.qualified in self.classes:
                found.append(d)
            elif d.name in BY_KIND and call.args and isinstance(call.args[0], ast.Constant):
                found += self.of_kind(call.args[0].value)
            else:
                found += self.of_annotation(d, getattr(d.node, "returns", None))
        if isinstance(f, ast.Name) and not called:
            found += self.of_own(cell, f.id, deep)
        if not called:  # an instance is called: its forward
            for k in self.infer(cell, f, deep):
                if d := self.member(k, "forward"):
                    found += self.of_annotation(d, d.node.returns)
        return found

    def of_own(self, cell, name, deep):
        "What calling a function or a class gives that the chapter makes for itself."
        found = []
        for value in self.latest(cell, name):
            if isinstance(value, ast.ClassDef):
                found += [k for base in value.bases for k in self.targets(cell, base, deep)]
            elif isinstance(value, ast.FunctionDef):
                for n in ast.walk(value):
                    if isinstance(n, ast.Return):
                        found += self.infer(cell, n.value, deep)
        return found

    def of_method(self, cls, name):
        "What a method returns: by its annotation, and by the method that it returns the result of."
        for k in self.bases(cls):
            for m in k.methods:
                if m.name != name:
                    continue
                found = self.of_annotation(k, m.returns)
                for n in ast.walk(m):
                    call = n.value if isinstance(n, ast.Return) else None
                    f = getattr(call, "func", None)
                    if isinstance(f, ast.Attribute) and getattr(f.value, "id", "") == "self":
                        if d := self.member(cls, f.attr):
                            found = self.of_annotation(d, d.node.returns)
                return found
        return []

    def of_kind(self, kind):
        "The class of a system, by its name."
        found = self.within(f"carat.systems.{kind}.SYSTEM")
        return [k for d in found for k in self.targets(d.cell, getattr(d.node, "value", None))]

    def of_annotation(self, d, annotation):
        "The public classes that an annotation of a definition names."
        if annotation is None:
            return []
        text = annotation
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            text = ast.parse(annotation.value, mode="eval").body
        out = []
        for name in sorted(names_in(text)):
            found = self.targets(d.cell, ast.Name(name)) or self.by_name[name]
            out += [k for k in found if k.qualified in self.classes]
        return out

    def of_attribute(self, cls, name, deep):
        "The classes of an attribute: a property, an annotated field, or what __init__ sets."
        for k in self.bases(cls):
            for n in ast.walk(k.node):
                if isinstance(n, ast.AnnAssign) and getattr(n.target, "id", "") == name:
                    return self.of_annotation(k, n.annotation)
                if isinstance(n, ast.FunctionDef) and n.name == name:
                    return self.of_annotation(k, n.returns)
                if isinstance(n, ast.Assign) and any(
                    isinstance(t, ast.Attribute) and t.attr == name for t in n.targets
                ):
                    return self.infer(k.cell, n.value, deep)
        return []


def parts_of(node):
    "The expressions whose classes an expression passes on: elements, branches, the container."
    if isinstance(node, ast.Dict):
        return [v for v in node.values if v]
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return node.elts
    if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
        return [node.elt]
    if isinstance(node, ast.DictComp):
        return [node.value]
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    if isinstance(node, (ast.Subscript, ast.Starred, ast.NamedExpr, ast.Await)):
        return [node.value]
    if isinstance(node, ast.BoolOp):
        return node.values
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in {
            "zip",
            "list",
            "tuple",
            "next",
            "iter",
            "replace",
            "sorted",
            "enumerate",
        }:
            return node.args
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in {"values", "items", "pop"}:
        return [node.func.value]
    return []


def bindings(node):
    "The names that a node binds, each with what it is: an expression, a definition, a path."
    if isinstance(node, ast.ImportFrom):
        for a in node.names:
            yield a.asname or a.name, f"{node.module}.{a.name}"
    elif isinstance(node, ast.Import):
        for a in node.names:
            yield a.asname or a.name.split(".")[0], a.name if a.asname else a.name.split(".")[0]
    elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield node.name, node
    else:
        yield from assignments(node)
    if isinstance(node, FUNCTIONS):  # of what it is given only annotations say something
        args = node.args
        for a in [*args.posonlyargs, *args.args, *args.kwonlyargs]:
            yield a.arg, ast.Call(a.annotation, [], []) if a.annotation else None


def assignments(node):
    "The names that an assignment, a loop or a with binds, each with an expression."
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield from unpacked(target, node.value)
    elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)):
        yield from unpacked(node.target, node.value)
    elif isinstance(node, (ast.For, ast.comprehension)):
        yield from unpacked(node.target, node.iter)
    elif isinstance(node, ast.withitem) and node.optional_vars:
        yield from unpacked(node.optional_vars, node.context_expr)


def unpacked(target, value):
    "The names of a target; of a tuple, each with its own part where the parts are spelled out."
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, (ast.Tuple, ast.List)):
        own = isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts)
        for i, part in enumerate(target.elts):
            yield from unpacked(part, value.elts[i] if own else value)
    elif isinstance(target, ast.Starred):
        yield from unpacked(target.value, value)
