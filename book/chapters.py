"The chapters of the book as its tools see them: cells with headings, marks, code and results."

import ast
import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache

from . import EXECUTED, code_digest, directives, is_run, read_notebook, without_directives
from .equations import CARAT, tagged, tags

CHECKS = re.compile(r"^(test_\w+|assert_\w+|check_\w+|gradcheck|gradgradcheck)$")
SHOWN = ("text/html", "image/png", "text/myst")  # outputs that are no plain text


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
        names_module = any(m.startswith("default_exp") for m in self.marks)
        return names_module or bool({"hide", "hide_cell"} & set(self.marks))

    @property
    def exported(self):
        return any(re.match(r"export(i|s)?\b", m) for m in self.marks)

    @property
    def exercise(self):
        "Whether readers fill in the cell, or find the solution of an exercise in it."
        return any(m.startswith(("blank:", "solution:")) for m in self.marks)

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
        "What `#| proves:` says, or None."
        said = [m.removeprefix("proves:") for m in self.marks if m.startswith("proves:")]
        return " ".join(said) if said else None


@dataclass
class Chapter:
    "A notebook of the book."

    stem: str
    title: str
    cells: list = field(repr=False)
    module: str | None  # carat.nn.pooling; None where nothing is exported
    # metadata of the execution: seconds, when, data, environment; empty where it has not run
    ran: dict = field(repr=False)

    @property
    def number(self):
        return m[0].lstrip("0") or None if (m := re.match(r"\d+", self.stem)) else None

    @property
    def name(self):
        return f"{self.number}. {self.title}" if self.number else self.title

    @property
    def page(self):
        return f"nbs/{self.stem}"

    @cached_property
    def tags(self):
        "Its tagged formulas, as (tag, formula, cell)."
        found = [(c, tags(c.source)) for c in self.cells if c.kind == "markdown"]
        return [(tag, tex, cell) for cell, those in found for tag, tex in those]

    @cached_property
    def paper(self):
        "The paper whose equations go without a name here: that of the first tag."
        tag = self.tags[0][0] if self.tags else ""
        try:
            return tagged(tag).paper
        except ValueError:  # Facts.problems names it
            return CARAT


@lru_cache(None)
def parsed(source):
    lines = source.split("\n")
    source = "\n".join("pass" if re.match(r"\s*[%!]", line) else line for line in lines)
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.Module([], [])


@lru_cache(None)
def walked(node):
    "A node and all below it."
    return list(ast.walk(node))


@lru_cache(None)
def names_in(node):
    "All names that code uses: variables and attributes."
    found = [n for n in walked(node) if isinstance(n, (ast.Name, ast.Attribute))]
    return {n.id if isinstance(n, ast.Name) else n.attr for n in found}


@lru_cache(None)
def names_of(source):
    return names_in(parsed(source))


def assigned(node):
    "The names that a top-level statement binds."
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
    return [n.id for n in names if isinstance(n.ctx, ast.Store)]


@lru_cache(None)
def assertions(tree):
    "How many checks a cell makes: assert statements, calls of assert_close, check_pool, ..."
    asserts = [n for n in walked(tree) if isinstance(n, ast.Assert)]
    inside = {x for a in asserts for x in ast.walk(a.test)}
    calls = [n for n in walked(tree) if isinstance(n, ast.Call) and n not in inside]
    return len(asserts) + sum(bool(CHECKS.match(called(c))) for c in calls)


def called(call):
    "The name of the function or method that a call calls."
    f = call.func
    return f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "")


def ast_source(cell, node):
    return ast.get_source_segment(cell.source, node) or ""


def last_heading(source):
    "The last heading of a piece of Markdown, or None."
    plain = re.sub(r"^(```|~~~).*?^\1", "", source, flags=re.M | re.S)
    found = re.findall(r"^#+ +(.*?) *$", plain, re.M)
    return found[-1] if found else None


def moment(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def seconds_of(executed):
    "How long an executed cell took, or None where its metadata do not say."
    times = executed.metadata.get("execution", {})
    start = times.get("iopub.execute_input")
    end = times.get("shell.execute_reply") or times.get("iopub.status.idle")
    if not (start and end):
        return None
    return max(0.0, (moment(end) - moment(start)).total_seconds())


def plain_output(output):
    "What an output printed; nothing of figures, tables and pieces of the book."
    if output.output_type == "stream":
        return output.get("text", "")
    data = output.get("data", {})
    return "" if any(kind in data for kind in SHOWN) else data.get("text/plain", "")


def executed_copy(path, nb):
    "The executed copy of a notebook, or None where there is none of its code as it stands."
    copy = EXECUTED / path.name
    ran = read_notebook(copy) if copy.exists() else None
    current = ran is not None and ran.metadata.get("carat", {}).get("code") == code_digest(nb)
    return ran if current else None


def read_chapter(path):
    nb = read_notebook(path)
    ran = executed_copy(path, nb)
    results = iter([c for c in ran.cells if c.cell_type == "code"] if ran else [])
    cells, text, heading = [], "", ""
    for i, c in enumerate(nb.cells):
        marks = directives(c) if c.cell_type == "code" else []
        source = c.source if c.cell_type == "markdown" else without_directives(c)
        id_ = c.get("id", str(i))
        cells.append(Cell(path.stem, i, c.cell_type, source, marks, id_, text, heading))
        if c.cell_type == "markdown":
            text, heading = c.source, last_heading(c.source) or heading
        elif c.cell_type == "code":
            take_result(cells[-1], is_run(c), next(results, None))
    modules = [m.split()[1] for c in cells for m in c.marks if m.startswith("default_exp")]
    module = f"carat.{modules[-1]}" if modules else None
    metadata = dict(ran.metadata.carat) if ran else {}
    return Chapter(path.stem, title_of(cells) or path.stem, cells, module, metadata)


def take_result(cell, runs, result):
    cell.runs = runs
    if result is None or not runs:
        return
    cell.seconds = seconds_of(result)
    cell.failed = any(o.output_type == "error" for o in result.outputs)
    cell.output = "".join(map(plain_output, result.outputs))


def title_of(cells):
    found = [re.search(r"^# +(.*?) *$", c.source, re.M) for c in cells if c.kind == "markdown"]
    return next((m[1] for m in found if m), None)
