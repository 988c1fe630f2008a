"""What the book knows about itself, collected from its notebooks: equations, exported symbols,
proofs and their results, symbol tables, examples.

Nothing here is listed by hand. An equation is a `\\tag{6}`, or `\\tag{TAILOR 3}` of another paper
(`book/equations.py` has the rule); its symbols are what the same chapter exports with "Eq. 6" in
the docstring; its proofs are the cells that say `#| proves: 6`, must hold an assertion, must have
run, and must reach one of the equation's symbols."""

import ast
import json
import re
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import lru_cache

from . import ROOT, digest, module_file, mutants, notebooks
from .chapters import Cell, assertions, assigned, ast_source, names_in, parsed, read_chapter
from .equations import CARAT, NUMBERS, Equation, mentioned, proved, tagged
from .examples import Example, find_examples


@dataclass
class Definition:
    "A public name of the package: where it is defined, what it says, the first cell that uses it."

    qualified: str  # carat.nn.pooling.max_pool, or carat.nn.contrast.Queue.enqueue
    cell: Cell = field(repr=False)
    node: ast.AST = field(repr=False)
    owner: str | None = None  # the class of a method
    example: Example | None = None

    @property
    def name(self):
        return self.qualified.rsplit(".", 1)[1]

    @property
    def short(self):
        return f"{self.owner}.{self.name}" if self.owner else self.name

    @property
    def module(self):
        return self.qualified[: -len(self.short) - 1]

    @property
    def doc(self):
        if isinstance(self.node, (ast.FunctionDef, ast.ClassDef)):
            return ast.get_docstring(self.node) or ""
        return ""

    @property
    def methods(self):
        body = self.node.body if isinstance(self.node, ast.ClassDef) else []
        return [n for n in body if isinstance(n, ast.FunctionDef)]


@dataclass
class EquationEntry:
    """An equation with its chapter, the symbols that implement it, its proofs and its mutants.

    A cell that is called a proof and notices none of the mutants is a property."""

    equation: Equation
    cell: Cell = field(repr=False)
    tex: str  # without its tag
    symbols: list = field(default_factory=list)
    proofs: list = field(default_factory=list)
    properties: list = field(default_factory=list)
    mutants: list = field(default_factory=list)

    @property
    def cells(self):
        "All cells that were meant to prove it, in the book's order."
        both = [*self.proofs, *self.properties]
        return sorted(both, key=lambda c: (c.chapter != self.cell.chapter, c.chapter, c.index))


@dataclass
class Symbol:
    "A row of a symbol table."

    tex: str
    meaning: str
    shape: str
    code: str
    chapter: str


def public_names(module):
    "The __all__ of an exported module, read without importing it."
    path = module_file(module)
    if not path.exists():
        return []
    for node in parsed(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    return []


def definitions_of(chapter):
    "The public names that a chapter exports, and the documented methods of its classes."
    public = public_names(chapter.module) if chapter.module else []
    bound = [
        (name, cell, node)
        for cell in chapter.cells
        if cell.exported
        for node in cell.tree.body
        for name in assigned(node)
    ]
    out = {}
    for name, cell, node in bound:
        if name not in public or name in out:
            continue
        out[name] = Definition(f"{chapter.module}.{name}", cell, node)
        for m in out[name].methods:
            if not m.name.startswith("_") and ast.get_docstring(m):
                full = f"{chapter.module}.{name}.{m.name}"
                out[f"{name}.{m.name}"] = Definition(full, cell, m, name)
    return out


def cells_of_row(line):
    "The cells of a row of a Markdown table; a bar in code or mathematics does not part them."
    held = []

    def hold(m):
        held.append(m[0])
        return f"\0{len(held) - 1}\0"

    line = re.sub(r"`[^`]*`|\$[^$]*\$", hold, line.strip().strip("|"))
    return [re.sub(r"\0(\d+)\0", lambda m: held[int(m[1])], c).strip() for c in line.split("|")]


def is_row(line):
    return line.lstrip().startswith("|")


def symbol_rows(source):
    "The rows of the symbol tables in a piece of Markdown, as {heading: cell}."
    lines = source.split("\n")
    for i, line in enumerate(lines):
        header = [h.lower() for h in cells_of_row(line)] if is_row(line) else []
        if not {"symbol", "meaning"} <= set(header):
            continue
        for row in lines[i + 2 :]:
            if not is_row(row):
                break
            yield dict(zip(header, cells_of_row(row), strict=False))


def symbols_of(chapter):
    out = []
    for cell in chapter.cells:
        for row in symbol_rows(cell.source) if cell.kind == "markdown" else ():
            lists = re.findall(r"\$([^$]+)\$", row["symbol"])
            names = [one for tex in lists for one in split_list(tex)]
            columns = [each_own(row["meaning"], len(names), ";")]
            columns += [each_own(row.get(k, ""), len(names)) for k in ("shape", "in code")]
            out += [Symbol(*said, chapter.stem) for said in zip(names, *columns, strict=True)]
    return out


def each_own(cell, n, marks=",;"):
    "What a cell says of each of the n symbols of its row: its own part, or all if it has no n."
    parts = split_list(cell, marks)
    return parts if len(parts) == n else [cell] * n


def split_list(tex, marks=",;"):
    "The symbols of a list such as `a_{i,j}, b`: commas part them where no bracket is open."
    out, depth = [""], 0
    for c in tex:
        depth += (c in "{([") - (c in "})]")
        if c in marks and depth == 0:
            out.append("")
        else:
            out[-1] += c
    return [s.strip() for s in out if s.strip()]


def plain_tex(tex):
    "A symbol without blanks and without what makes it bold or roman: what its spellings share."
    tex = re.sub(r"\\(?:boldsymbol|mathbf|bm|mathrm|mathit|operatorname)\b", "", tex)
    tex = re.sub(r"\\[,;! ]|\s+|\\limits", "", tex)

    def unbraced(m):
        return m[1] + (" " if m[1].startswith("\\") else "")

    while (new := re.sub(r"\{([^{}\\]|\\[A-Za-z]+)\}", unbraced, tex)) != tex:
        tex = new
    tex = re.sub(r"\s+(?![A-Za-z])|\s+$", "", tex)
    m = re.match(r"^(.*?)\^(\{.*?\}|\\?\w)_(\{.*\}|\\?\w+)$", tex)  # one order for the two indices
    return f"{m[1]}_{m[3]}^{m[2]}" if m else tex


class Facts:
    "All of it. `facts()` gives the one of the notebooks as they stand."

    def __init__(self):
        self.chapters = {p.stem: read_chapter(p) for p in notebooks()}
        self.definitions, self.equations, self.symbols = {}, {}, []
        self.wrong, self._bound = [], {}
        for c in self.chapters.values():
            self.definitions |= {d.qualified: d for d in definitions_of(c).values()}
            self.take_equations(c)
            self.symbols += symbols_of(c)
        self.names = {}
        for d in self.definitions.values():
            self.names.setdefault(d.short, []).append(d)
        self.uses = self.used_names()
        self.recorded = sorted(p.stem for p in (ROOT / "results").glob("*.json"))
        for e in self.equations.values():
            e.symbols = self.symbols_for(e)
            e.mutants = [m for m in mutants.declared() if e.equation in m.equations]
        for c in self.chapters.values():
            for cell in c.cells:
                self.take_proof(c, cell)
        find_examples(self)

    def take_equations(self, chapter):
        "The tagged equations of a chapter. Each has one home."
        for tag, tex, cell in chapter.tags:
            where = f"nbs/{chapter.stem}.ipynb"
            try:
                equation = tagged(tag)
            except ValueError as e:
                self.wrong.append(f"{where} has a tag that names no equation: {e}")
                continue
            if equation.paper == CARAT and equation.number not in NUMBERS:
                self.wrong.append(f"{where} tags {equation}, and the paper has {NUMBERS[-1]}")
            if equation in self.equations:
                other = self.equations[equation].cell.chapter
                self.wrong.append(f"{where} tags {equation}, and so does nbs/{other}.ipynb")
                continue
            self.equations[equation] = EquationEntry(equation, cell, tex)

    def of_paper(self, paper):
        "The equations of a paper that the book has, by number."
        return sorted(e for e in self.equations if e.paper == paper)

    @property
    def papers(self):
        "The papers that have equations in the book, CARAT first."
        return list(dict.fromkeys([CARAT, *(e.paper for e in self.equations)]))

    def used_names(self):
        "The names that each definition uses, by itself and through its module's private helpers."
        helpers = {
            (c.module, n): names_in(node)
            for c in self.chapters.values()
            for cell in c.cells
            if cell.exported
            for node in cell.tree.body
            for n in assigned(node)
            if n.startswith("_")
        }
        return {
            d.qualified: self.with_helpers(names_in(d.node), d.module, helpers)
            for d in self.definitions.values()
        }

    @staticmethod
    def with_helpers(names, module, helpers):
        "Names, and those that the module's private helpers among them use."
        seen, todo = set(), set(names)
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo |= helpers.get((module, name), set())
        return seen

    def symbols_for(self, entry):
        """What the equation's chapter exports with its number in the docstring.

        Where there is nothing, what has it in a comment of a function, or of a method."""
        equation, paper = entry.equation, self.chapters[entry.cell.chapter].paper
        here = [d for d in self.definitions.values() if d.cell.chapter == entry.cell.chapter]

        def commented(d, node):
            comments = "\n".join(re.findall(r"#(.*)", ast_source(d.cell, node)))
            return equation in mentioned(comments, paper)

        return (
            [d for d in here if equation in mentioned(d.doc, paper)]
            or [d for d in here if isinstance(d.node, ast.FunctionDef) and commented(d, d.node)]
            or [d for d in here if any(commented(d, m) for m in d.methods)]
        )

    def reach(self, chapter, cell, start):
        "All names that some lead to: by what the chapter binds before a cell, and by the package."
        at = {}
        for i, name, uses in self.bound_in(chapter):
            if i <= cell.index:
                at.setdefault(name, set()).update(uses)
        seen, todo = set(), set(start)
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            todo |= at.get(name, set())
            for d in self.names.get(name, []):
                todo |= self.uses[d.qualified]
        return seen

    def bound_in(self, chapter):
        "What the cells of a chapter bind, as (cell, name, names that it uses)."
        if chapter.stem not in self._bound:
            self._bound[chapter.stem] = [
                (c.index, name, names_in(node))
                for c in chapter.cells
                if c.kind == "code" and not c.exported
                for node in c.tree.body
                for name in assigned(node)
            ]
        return self._bound[chapter.stem]

    def take_proof(self, chapter, cell):
        if cell.proves is None:
            return
        where = f"nbs/{chapter.stem}.ipynb, the cell {cell.source.splitlines()[0]!r}"
        try:
            equations = sorted(set(proved(cell.proves, chapter.paper)))
        except ValueError as e:
            self.wrong.append(f"{where}: {e}")
            return
        proves = f"{where} proves {', '.join(map(str, equations))} but"
        if cell.exported or cell.hidden:
            self.wrong.append(f"{proves} readers do not see it as a cell of its own: show it")
        if not cell.runs:
            self.wrong.append(f"{proves} does not run")
        if not assertions(cell.tree):
            self.wrong.append(f"{proves} asserts nothing")
        reached = self.reach(chapter, cell, cell.names)
        for equation in equations:
            entry = self.equations.get(equation)
            if entry is None:
                self.wrong.append(f"{where} proves {equation}, which no chapter has")
                continue
            kills = mutants.kills(cell, entry.mutants)
            (entry.properties if kills == [] else entry.proofs).append(cell)
            if not any(d.name in reached for d in entry.symbols):
                names = ", ".join(d.short for d in entry.symbols)
                self.wrong.append(f"{where} proves {equation} but reaches none of: {names}")

    def problems(self):
        "Why the map of the equations would not be complete, a line each."
        out = list(self.wrong)
        for n in NUMBERS:
            if Equation(CARAT, n) not in self.equations:
                out.append(f"Eq. {n} of the paper has no chapter: no notebook has \\tag{{{n}}}")
        for equation, e in self.equations.items():
            home = e.cell.chapter
            if not e.symbols:
                out.append(f"{equation} has no exported symbol: no docstring in {home} names it")
            if not e.cells:
                out.append(f"{equation} has no proof: no cell says `#| proves: {equation.tag}`")
            elif not e.proofs:
                out.append(f"{equation} has no proof: no cell notices one of its mutants")
        return out + [
            f"{d.qualified} has no example: no shown cell uses it"
            for d in self.definitions.values()
            if d.example is None
            and not d.owner
            and isinstance(d.node, (ast.FunctionDef, ast.ClassDef))
        ]

    def skeleton(self):
        "What pages know of each other: where it changes, all are made anew."
        lines = [f"{e.tag} {entry.cell.chapter}" for e, entry in self.equations.items()]
        lines += [f"{q} {d.cell.anchor}" for q, d in self.definitions.items()]
        lines += [f"{s.tex} {s.chapter}" for s in self.symbols]
        lines += [f"{c.stem} {c.title}" for c in self.chapters.values()]
        return digest(*sorted(lines))

    def runs(self):
        "The recorded runs: {name: contents}."
        paths = sorted((ROOT / "results").glob("*.json"))
        return {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in paths}

    def runs_of(self, cell):
        "The recorded runs that a cell names, by file name or by a pattern of it."
        if cell.kind != "code":
            return []
        patterns = json_names(cell.source)
        return [r for r in self.recorded if any(fnmatch(f"{r}.json", x) for x in patterns)]


@lru_cache(None)
def json_names(source):
    "The names of JSON files, or patterns of them, that code spells out."
    constants = [n.value for n in ast.walk(parsed(source)) if isinstance(n, ast.Constant)]
    found = [v for v in constants if isinstance(v, str) and v.endswith(".json")]
    return {v.rsplit("/", 1)[-1] for v in found} - {"*.json"}


@lru_cache(None)
def facts():
    "The facts of the notebooks, collected once a process: ask after they have been executed."
    return Facts()
