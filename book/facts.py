"""What the book knows about itself, collected from its notebooks: equations, exported symbols, proofs and their results, symbol tables, examples.

Nothing here is listed by hand. An equation is a `\\tag{N}`; its symbols are what the same chapter exports with "Eq. N" in the docstring; its
proofs are the cells that say `#| proves: N`, must hold an assertion, must have run, and must reach one of the equation's symbols."""

import ast
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatch
from functools import lru_cache

from . import (
    EXECUTED,
    ROOT,
    code_digest,
    digest,
    directives,
    is_run,
    module_file,
    notebooks,
    read_notebook,
    without_directives,
)

EQUATIONS = range(1, 18)  # those of the paper
MENTION = re.compile(
    r"\b(?:Eqs?\.|Equations?)[ \n~]*(\d+)((?:\s*(?:,|and|to|or|,\s*and)\s+(?:Eqs?\.[ \n~]*)?\d+)*)(?![\d%]|\.\d)"
)
CHECKS = re.compile(r"^(test_\w+|assert_\w+|gradcheck|gradgradcheck)$")


def mentioned(text):
    "The paper's equations that a text names: 'Eq. 6, Eq. 7', 'Eq. 3 and 17', 'Eq. 11 to 14'."
    out = set()
    for m in MENTION.finditer(text or ""):
        numbers = [(int(m[1]), ",")] + [
            (int(n), word) for word, n in re.findall(r"(,|and|to|or)\s+(?:Eqs?\.\s*)?(\d+)", m[2])
        ]
        for (n, word), before in zip(numbers, [None, *numbers]):
            out |= set(range(before[0], n + 1)) if word == "to" else {n}
    return {n for n in out if n in EQUATIONS}


@dataclass
class Chapter:
    "A notebook of the book."

    stem: str
    title: str
    cells: list = field(repr=False)
    module: str | None  # carat.nn.pooling; None where nothing is exported
    ran: dict = field(
        repr=False
    )  # metadata of the execution: seconds, when, data, environment; empty where it has not run

    @property
    def number(self):
        return m[0] if (m := re.match(r"\d+", self.stem)) and m[0] != "00" else None

    @property
    def name(self):
        return f"{self.number}. {self.title}" if self.number else self.title

    @property
    def page(self):
        return f"nbs/{self.stem}"


@dataclass
class Cell:
    "A cell of a chapter with what came before it, and what became of it in this build."

    chapter: str
    index: int
    kind: str
    source: str
    marks: list
    id: str
    text: str  # the markdown before it
    heading: str
    runs: bool = False
    seconds: float | None = None
    failed: bool = False
    output: str = ""

    @property
    def hidden(self):
        return bool({"hide", "hide_cell"} & set(self.marks)) or any(
            m.startswith("default_exp") for m in self.marks
        )

    @property
    def exported(self):
        return any(re.match(r"export(i|s)?\b", m) for m in self.marks)

    @property
    def anchor(self):
        return f"cell-{self.chapter.replace('_', '-')}-{self.id}".lower()

    @property
    def tree(self):
        return parsed(self.source)

    @property
    def names(self):
        return names_of(self.source)

    @property
    def proves(self):
        return sorted(
            {int(n) for m in self.marks if m.startswith("proves:") for n in re.findall(r"\d+", m)}
        )


@lru_cache(None)
def parsed(source):
    source = "\n".join(
        line if not re.match(r"\s*[%!]", line) else "pass" for line in source.split("\n")
    )
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.Module([], [])


def names_in(node):
    "All names that code uses: variables and attributes."
    return {
        n.id if isinstance(n, ast.Name) else n.attr
        for n in ast.walk(node)
        if isinstance(n, (ast.Name, ast.Attribute))
    }


@lru_cache(None)
def names_of(source):
    return names_in(parsed(source))


@lru_cache(None)
def statement_names(node):
    return names_in(node)


def assigned(node):
    "The names that a top-level statement binds."
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    return [
        n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    ]


def assertions(tree):
    "How many checks a cell makes: assert statements, and calls of test_close, assert_close, gradcheck and their like."
    n, inside = 0, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            n += 1
            inside |= {id(x) for x in ast.walk(node.test)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and id(node) not in inside:
            f = node.func
            n += bool(
                CHECKS.match(f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", ""))
            )
    return n


@dataclass
class Example:
    "A statement that ran in this build and uses a public name."

    cell: Cell = field(repr=False)
    code: str
    output: str = ""
    via: object = None  # the Definition that it calls, where it reaches the name only through that


@dataclass
class Definition:
    "A public name of the package: where it is defined, what it says of itself, the first cell that uses it."

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
    def equations(self):
        return mentioned(self.doc)

    @property
    def comments(self):
        return (
            "\n".join(re.findall(r"#(.*)", ast_source(self.cell, self.node)))
            if isinstance(self.node, ast.FunctionDef) or self.methods
            else ""
        )

    @property
    def methods(self):
        return (
            [n for n in getattr(self.node, "body", []) if isinstance(n, ast.FunctionDef)]
            if isinstance(self.node, ast.ClassDef)
            else []
        )


def ast_source(cell, node):
    return ast.get_source_segment(cell.source, node) or ""


@dataclass
class Equation:
    number: int
    cell: Cell = field(repr=False)
    tex: str  # without its tag
    symbols: list = field(default_factory=list)
    proofs: list = field(default_factory=list)


@dataclass
class Symbol:
    "A row of a symbol table."

    tex: str
    meaning: str
    shape: str
    code: str
    chapter: str


def read_chapter(path):
    nb, copy = read_notebook(path), EXECUTED / path.name
    ran = read_notebook(copy) if copy.exists() else None
    if ran is not None and ran.metadata.get("carat", {}).get("code") != code_digest(nb):
        ran = None
    results = iter([c for c in ran.cells if c.cell_type == "code"] if ran else [])
    cells, text, heading, module = [], "", "", None
    for i, c in enumerate(nb.cells):
        cell = Cell(
            path.stem,
            i,
            c.cell_type,
            c.source if c.cell_type == "markdown" else without_directives(c),
            directives(c) if c.cell_type == "code" else [],
            c.get("id", str(i)),
            text,
            heading,
        )
        if c.cell_type == "markdown":
            text = c.source
            if found := re.findall(
                r"^#+ +(.*?) *$", re.sub(r"^(```|~~~).*?^\1", "", c.source, flags=re.M | re.S), re.M
            ):
                heading = found[-1]
        elif c.cell_type == "code":
            for m in cell.marks:
                if m.startswith("default_exp"):
                    module = f"carat.{m.split()[1]}"
            cell.runs = is_run(c)
            if (r := next(results, None)) is not None and cell.runs:
                times = r.metadata.get("execution", {})
                start, end = (
                    times.get("iopub.execute_input"),
                    times.get("shell.execute_reply") or times.get("iopub.status.idle"),
                )
                if start and end:
                    cell.seconds = max(
                        0.0,
                        (
                            datetime.fromisoformat(end.replace("Z", "+00:00"))
                            - datetime.fromisoformat(start.replace("Z", "+00:00"))
                        ).total_seconds(),
                    )
                cell.failed = any(o.output_type == "error" for o in r.outputs)
                cell.output = "".join(
                    o.get("text", "")
                    if o.output_type == "stream"
                    else o.get("data", {}).get("text/plain", "")
                    if "text/html" not in o.get("data", {})
                    and "image/png" not in o.get("data", {})
                    and "text/myst" not in o.get("data", {})
                    else ""
                    for o in r.outputs
                )
        cells.append(cell)
    title = next(
        (
            m[1]
            for c in cells
            if c.kind == "markdown" and (m := re.search(r"^# +(.*?) *$", c.source, re.M))
        ),
        path.stem,
    )
    return Chapter(path.stem, title, cells, module, dict(ran.metadata.carat) if ran else {})


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
    public, out = public_names(chapter.module) if chapter.module else [], {}
    for cell in chapter.cells:
        if not cell.exported:
            continue
        for node in cell.tree.body:
            for name in assigned(node):
                if name not in public or name in out:
                    continue
                out[name] = Definition(f"{chapter.module}.{name}", cell, node)
                for m in out[name].methods:
                    if not m.name.startswith("_") and ast.get_docstring(m):
                        out[f"{name}.{m.name}"] = Definition(
                            f"{chapter.module}.{name}.{m.name}", cell, m, name
                        )
    return out


def equations_of(chapter):
    out = {}
    for cell in chapter.cells:
        if cell.kind != "markdown":
            continue
        for block in re.findall(r"^\$\$\s*(.+?)\s*\$\$[ \t]*$", cell.source, re.M | re.S):
            for tag in re.findall(r"\\tag\{(\d+)\}", block):
                out[int(tag)] = Equation(int(tag), cell, re.sub(r"\s*\\tag\{\d+\}", "", block))
    return out


def cells_of_row(line):
    "The cells of a row of a Markdown table; a bar within code or mathematics does not part them."
    held = []
    line = re.sub(
        r"`[^`]*`|\$[^$]*\$",
        lambda m: held.append(m[0]) or f"\0{len(held) - 1}\0",
        line.strip().strip("|"),
    )
    return [re.sub(r"\0(\d+)\0", lambda m: held[int(m[1])], c).strip() for c in line.split("|")]


def symbols_of(chapter):
    out = []
    for cell in chapter.cells:
        if cell.kind != "markdown":
            continue
        lines = cell.source.split("\n")
        for i, line in enumerate(lines):
            header = (
                [h.lower() for h in cells_of_row(line)] if line.lstrip().startswith("|") else []
            )
            if not {"symbol", "meaning"} <= set(header):
                continue
            for row in lines[i + 2 :]:
                if not row.lstrip().startswith("|"):
                    break
                at = dict(zip(header, cells_of_row(row)))
                for tex in re.findall(r"\$([^$]+)\$", at["symbol"]):
                    for one in split_list(tex):
                        out.append(
                            Symbol(
                                one,
                                at["meaning"],
                                at.get("shape", ""),
                                at.get("in code", ""),
                                chapter.stem,
                            )
                        )
    return out


def split_list(tex):
    "The symbols of a list such as `a_{i,j}, b`: commas and semicolons part them where no bracket is open."
    out, depth = [""], 0
    for c in tex:
        depth += (c in "{([") - (c in "})]")
        if c in ",;" and depth == 0:
            out.append("")
        else:
            out[-1] += c
    return [s.strip() for s in out if s.strip()]


def plain_tex(tex):
    "A symbol without what only makes it bold or roman, without blanks: what two spellings of it share."
    tex = re.sub(r"\\(?:boldsymbol|mathbf|bm|mathrm|mathit|operatorname)\b", "", tex)
    tex = re.sub(r"\\[,;! ]|\s+|\\limits", "", tex)
    while (
        new := re.sub(
            r"\{([^{}\\]|\\[A-Za-z]+)\}",
            lambda m: m[1] + (" " if m[1].startswith("\\") else ""),
            tex,
        )
    ) != tex:
        tex = new
    tex = re.sub(r"\s+(?![A-Za-z])|\s+$", "", tex)
    m = re.match(r"^(.*?)\^(\{.*?\}|\\?\w)_(\{.*\}|\\?\w+)$", tex)  # one order for the two indices
    return f"{m[1]}_{m[3]}^{m[2]}" if m else tex


class Facts:
    "All of it. `facts()` gives the one of the notebooks as they stand."

    def __init__(self):
        self.chapters = {p.stem: read_chapter(p) for p in notebooks()}
        self.definitions, self.equations, self.symbols = {}, {}, []
        for c in self.chapters.values():
            self.definitions |= {d.qualified: d for d in definitions_of(c).values()}
            self.equations |= equations_of(c)
            self.symbols += symbols_of(c)
        self.names = {}
        for d in self.definitions.values():
            self.names.setdefault(d.short, []).append(d)
        helpers = {
            (c.module, n): names_in(node)
            for c in self.chapters.values()
            for cell in c.cells
            if cell.exported
            for node in cell.tree.body
            for n in assigned(node)
            if n.startswith("_")
        }
        self.uses = {
            d.qualified: self.with_helpers(names_in(d.node), d.module, helpers)
            for d in self.definitions.values()
        }
        self.wrong, self._bound, self.recorded = (
            [],
            {},
            sorted(p.stem for p in (ROOT / "results").glob("*.json")),
        )
        for n, e in self.equations.items():
            e.symbols = self.symbols_for(n, e)
        for c in self.chapters.values():
            for cell in c.cells:
                self.take_proof(c, cell)
        self.find_examples()

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

    def symbols_for(self, n, equation):
        "What the equation's chapter exports with its number in the docstring; else in a comment of a function or of a method."
        here = [d for d in self.definitions.values() if d.cell.chapter == equation.cell.chapter]
        if found := [d for d in here if n in d.equations]:
            return found
        found = [
            d for d in here if isinstance(d.node, ast.FunctionDef) and n in mentioned(d.comments)
        ]
        return found or [
            d
            for d in here
            if any(
                n in mentioned("\n".join(re.findall(r"#(.*)", ast_source(d.cell, m))))
                for m in d.methods
            )
        ]

    def reach(self, chapter, cell, start):
        "All names that some lead to: through what the chapter binds up to a cell, and through the package."
        known = self._bound.get(chapter.stem)
        if known is None:
            known = self._bound[chapter.stem] = []
            for c in chapter.cells:
                for node in c.tree.body if c.kind == "code" and not c.exported else ():
                    known += [(c.index, name, names_in(node)) for name in assigned(node)]
        at = {}
        for i, name, uses in known:
            if i <= cell.index:
                at.setdefault(name, set()).update(uses)
        seen, todo = set(), set(start)
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            todo |= at.get(name, set()) | {
                x for d in self.names.get(name, []) for x in self.uses[d.qualified]
            }
        return seen

    def take_proof(self, chapter, cell):
        if not cell.proves:
            return
        where = f"nbs/{chapter.stem}.ipynb, the cell {cell.source.splitlines()[0]!r}"
        if cell.exported or cell.hidden:
            self.wrong.append(
                f"{where} proves {cell.proves} but readers do not see it as a cell of its own: show it"
            )
        if not cell.runs:
            self.wrong.append(f"{where} proves {cell.proves} but does not run")
        if not assertions(cell.tree):
            self.wrong.append(f"{where} proves {cell.proves} but asserts nothing")
        reached = self.reach(chapter, cell, cell.names)
        for n in cell.proves:
            if n not in self.equations:
                self.wrong.append(f"{where} proves equation {n}, which no chapter has")
                continue
            self.equations[n].proofs.append(cell)
            if not any(d.name in reached for d in self.equations[n].symbols):
                self.wrong.append(
                    f"{where} proves equation {n} but reaches none of its symbols {[d.short for d in self.equations[n].symbols]}"
                )

    def find_examples(self):
        """For every public name the statement of a cell that ran in this build and uses it, the first after its definition, then before it, in its own chapter before others:
        one that calls it, else one that mentions it, both in cells that readers see; else one of a hidden cell; else one that reaches it through another name."""
        order, used = list(self.chapters), {}
        for stem, c in self.chapters.items():
            for cell in c.cells:
                if cell.kind == "code" and cell.runs and not cell.exported:
                    used[stem, cell.index] = cell.names
        for d in self.definitions.values():
            home, best = order.index(d.cell.chapter), (9,)
            for stem in [*order[home:], *order[:home]]:
                cells = self.chapters[stem].cells
                if stem == d.cell.chapter:
                    cells = (
                        cells[d.cell.index :] + cells[: d.cell.index]
                    )  # a chapter may show at its start what it makes later
                for cell in cells if best[0] > 1 else ():
                    if d.name not in used.get((stem, cell.index), ()):
                        continue
                    for node in cell.tree.body:
                        rank = d.name in statement_names(node) and self.uses_name(cell, node, d)
                        if rank and (rank := rank + 2 * cell.hidden) < best[0]:
                            best = (rank, cell, node)
            if best[0] < 9:
                d.example = Example(
                    best[1], *excerpt(best[1], best[2], lambda n: self.uses_name(best[1], n, d))
                )
        left = [d for d in self.definitions.values() if d.example is None]
        while left:  # through what returns it, then through what uses it, then through its class
            found = []
            for d in left:
                by = (
                    [
                        u
                        for u in self.definitions.values()
                        if u.example and (d.owner or d.name) in returned(u.node)
                    ]
                    if not d.owner
                    else []
                )
                by = by or [
                    u
                    for u in self.definitions.values()
                    if u.example
                    and u.qualified != d.qualified
                    and d.name in self.uses[u.qualified]
                    and (not d.owner or u.short == d.owner or d.owner in self.uses[u.qualified])
                ]
                by = by or [
                    u
                    for u in self.definitions.values()
                    if u.example and d.owner and u.qualified == f"{d.module}.{d.owner}"
                ]
                if by:
                    found.append(
                        (
                            d,
                            min(
                                by,
                                key=lambda u: (
                                    u.cell.chapter != d.cell.chapter,
                                    bool(u.example.via),
                                    bool(u.example.cell.hidden),
                                ),
                            ),
                        )
                    )
            for d, u in found:
                d.example = Example(
                    u.example.cell, u.example.code, u.example.output, u.example.via or u
                )
            left = [d for d in left if d.example is None]
            if not found:
                break

    def uses_name(self, cell, node, d):
        "1 where a statement calls what d names, 2 where it mentions it, 0 where it does neither. A method counts where what it is called on leads to its class."
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            return 0
        rank = 0
        for n in ast.walk(node):
            f = n.func if isinstance(n, ast.Call) else n
            if getattr(f, "attr", getattr(f, "id", None)) != d.name or (
                not isinstance(n, ast.Call) and rank
            ):
                continue
            if d.owner:
                fits = isinstance(f, ast.Attribute) and d.owner in self.reach(
                    self.chapters[cell.chapter], cell, names_in(f.value)
                )
            else:
                fits = (
                    isinstance(f, ast.Name)
                    or isinstance(f, ast.Attribute)
                    and names_in(f.value) <= set(d.module.split("."))
                )
            if fits:
                rank = 1 if isinstance(n, ast.Call) else 2
            if rank == 1:
                break
        return rank

    def problems(self):
        "Why the map of the equations would not be complete, a line each."
        out = list(self.wrong)
        for n in EQUATIONS:
            e = self.equations.get(n)
            if e is None:
                out.append(
                    f"equation {n} of the paper has no chapter: no notebook has \\tag{{{n}}}"
                )
                continue
            if not e.symbols:
                out.append(
                    f'equation {n} has no exported symbol: nothing that {e.cell.chapter} exports names "Eq. {n}" in its docstring'
                )
            if not e.proofs:
                out.append(f"equation {n} has no proof: no cell says `#| proves: {n}`")
        out += [
            f"{d.qualified} has no example: no shown cell uses it"
            for d in self.definitions.values()
            if d.example is None
            and not d.owner
            and isinstance(d.node, (ast.FunctionDef, ast.ClassDef))
        ]
        return out

    def skeleton(self):
        "What pages know of each other: where it changes, all are made anew."
        return digest(
            *sorted(
                [
                    *(f"{n} {e.cell.chapter}" for n, e in self.equations.items()),
                    *(f"{q} {d.cell.anchor}" for q, d in self.definitions.items()),
                    *(f"{s.tex} {s.chapter}" for s in self.symbols),
                    *(f"{c.stem} {c.title}" for c in self.chapters.values()),
                ]
            )
        )

    def runs(self):
        "The recorded runs: {name: contents}."
        return {
            p.stem: json.loads(p.read_text(encoding="utf-8"))
            for p in sorted((ROOT / "results").glob("*.json"))
        }

    def runs_of(self, cell):
        "The recorded runs that a cell names, by file name or by a pattern of it."
        return (
            [
                name
                for name in self.recorded
                if any(fnmatch(f"{name}.json", x) for x in json_names(cell.source))
            ]
            if cell.kind == "code"
            else []
        )


@lru_cache(None)
def json_names(source):
    "The names of JSON files, or patterns of them, that code spells out."
    found = {
        n.value.rsplit("/", 1)[-1]
        for n in ast.walk(parsed(source))
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and n.value.endswith(".json")
    }
    return found - {"*.json"}


def returned(node):
    "The names in the annotation of what a function returns."
    back = getattr(node, "returns", None)
    if isinstance(back, ast.Constant) and isinstance(back.value, str):
        return set(re.findall(r"\w+", back.value))
    return (
        {
            n.id if isinstance(n, ast.Name) else n.value
            for n in ast.walk(back)
            if isinstance(n, ast.Name) or isinstance(n, ast.Constant) and isinstance(n.value, str)
        }
        if back
        else set()
    )


def excerpt(cell, node, uses, most=9):
    "The statement of a cell that uses a name, the innermost one where it is long, as it reads on its own; and what it printed."
    last = node is cell.tree.body[-1]
    while True:
        text = ast_source(cell, node)
        inner = [n for n in ast.walk(node) if isinstance(n, ast.stmt) and n is not node and uses(n)]
        if text.count("\n") < most or not inner:
            break
        node, last = inner[0], False
    lines = text.split("\n")
    lines = [
        lines[0],
        *(
            line[node.col_offset :] if not line[: node.col_offset].strip() else line
            for line in lines[1:]
        ),
    ]
    return "\n".join(lines[:most] + ["..."] * (len(lines) > most)), cell.output.strip(
        "\n"
    ) if last else ""


@lru_cache(None)
def facts():
    "The facts of the notebooks, collected once a process: ask after they have been executed."
    return Facts()
