"""How readers see a cell: what is folded and under which words, what they fill in, and how long a
chapter takes to read.

A code cell is folded where it only imports, where it only draws, and where it exports more than
`LONG` lines. Two directives overrule that: `#| fold: WORDS` folds a cell under "Show WORDS" (the
words may go where the cell defines, imports or draws something that names it, and must go where it
exports, because nbdev would export them), and `#| open` keeps it open. `#| blank: LABEL` marks the
cell in which the reader solves the exercise LABEL, `#| solution: LABEL` the cell that solves it."""

import ast
import re

import nbformat

from . import ROOT, directives, notebooks, read_notebook, without_directives
from .chapters import called, parsed

LONG = 20  # lines of an exported cell that stay open
DRAWING = 3  # lines of a cell that only draws that stay open
WORDS, LINES = 200, 25  # words of prose, and shown lines of code, that are read in a minute
SETS_UP = {"use_style", "find_device", "manual_seed", "set_num_threads"}
CANVAS = {"subplots", "figure", "Figure", "subplot_mosaic"}
FINISHED = {"show", "frames"}
SEEN = {f"plots.{name}" for name in ("table", "show", "frames", "clips", "overview")}
EXERCISE = re.compile(r"^`{3,}\{exercise\}.*?^:label: (\S+)$", re.M | re.S)
SOLUTION = re.compile(r"\{solution\} (\S+)")
# a remark in the margin with nothing beside it: it would open a gap
ALONE = re.compile(r"^```\{margin\}\n(?:(?!```).*\n)*```\s*(?:\Z|^#)", re.M)
FENCED = re.compile(
    r"^(`{3,}|~{3,})(?!\{(?:exercise|margin|note|tip|admonition)).*?^\1", re.M | re.S
)


def said(marks, name):
    "What a directive says after its colon; an empty text where it says nothing; None without it."
    for mark in marks:
        head, _, rest = mark.partition(":")
        if head.strip() == name:
            return rest.strip()
    return None


def sets_up(node):
    "Whether a statement imports, or does one of the few things that every chapter begins with."
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return True
    if isinstance(node, ast.If):  # such as `if TYPE_CHECKING`
        return all(map(sets_up, [*node.body, *node.orelse]))
    value = getattr(node, "value", None)
    return isinstance(value, ast.Call) and called(value) in SETS_UP


def only_imports(source):
    body = parsed(source).body
    return any(isinstance(n, (ast.Import, ast.ImportFrom)) for n in body) and all(
        map(sets_up, body)
    )


def only_draws(source):
    "Whether a cell makes a figure with matplotlib and shows it, and defines nothing."
    body = parsed(source).body
    if not body or any(isinstance(n, (ast.FunctionDef, ast.ClassDef)) for n in body):
        return False
    calls = [n for n in ast.walk(parsed(source)) if isinstance(n, ast.Call)]
    last = [n for n in ast.walk(body[-1]) if isinstance(n, ast.Call)]
    begins = any(called(c) in CANVAS for c in calls)
    return begins and any(called(c) in FINISHED for c in last) and lines_of(source) > DRAWING


def lines_of(source):
    "The lines of a cell that hold something."
    return sum(bool(line.strip()) for line in source.split("\n"))


def defined(source):
    "The functions and classes that a cell defines, the public ones if there are any."
    nodes = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = [n.name for n in parsed(source).body if isinstance(n, nodes)]
    return [n for n in names if not n.startswith("_")] or names


def constants(source):
    "The names in capital letters that a cell sets."
    sets = [n for n in parsed(source).body if isinstance(n, ast.Assign)]
    names = [t.id for n in sets for t in n.targets if isinstance(t, ast.Name)]
    return [n for n in names if n.isupper()]


def listed(names, most=3):
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def noun(source):
    "What a folded cell holds, or None where its code does not say."
    if only_imports(source):
        return "the imports"
    if names := defined(source) or constants(source):
        return listed(names)
    return "the plotting code" if only_draws(source) else None


def prompt(marks, source):
    "The words under which a code cell is folded, or None where it is open."
    if said(marks, "solution") is not None:
        return "Show the solution"
    words = said(marks, "fold")
    if words is not None:
        return f"Show {words or noun(source) or 'the code'}"
    if said(marks, "open") is not None:
        return None
    long = "export" in marks and lines_of(source) > LONG
    folded = only_imports(source) or only_draws(source) or long
    return f"Show {noun(source) or 'the code'}" if folded else None


def fold(cell, marks):
    "Tag a code cell for the renderer; a solution is folded with what it prints."
    if (words := prompt(marks, cell.source)) is None:
        return
    whole = said(marks, "solution") is not None
    cell.metadata.tags = ["hide-cell" if whole else "hide-input"]
    cell.metadata.mystnb = {
        "code_prompt_show": words,
        "code_prompt_hide": words.replace("Show", "Hide", 1),
    }


def holds_imports(cell):
    "Whether a cell was folded because it only imports."
    return cell.metadata.get("mystnb", {}).get("code_prompt_show") == "Show the imports"


def is_open(cell):
    "Whether the code of a cell that was made for readers is seen when its page opens."
    closed = {"hide-input", "hide-cell", "remove-cell", "remove-input"}
    return cell.cell_type == "code" and not closed & set(cell.metadata.get("tags", []))


def words_of(source):
    "How many words a Markdown cell has; code and solutions do not count, mathematics counts once."
    if SOLUTION.search(source):
        return 0
    text = re.sub(r"\$\$.*?\$\$|\$[^$]*\$", " x ", FENCED.sub("", source), flags=re.S)
    return len(re.findall(r"[^\W_]+(?:['’-]\w+)*", re.sub(r"\]\([^)]*\)", "]", text)))


def minutes(cells):
    "How long the cells of a page take to read: to the minute below ten, else to five minutes."
    words = sum(words_of(c.source) for c in cells if c.cell_type == "markdown")
    lines = sum(lines_of(c.source) for c in cells if is_open(c))
    took = words / WORDS + lines / LINES
    return max(1, round(took)) if took < 10 else 5 * round(took / 5)


def with_head(source, took):
    "The first cell of a chapter with the block below its subtitle: minutes, needs, outcomes."
    blocks = re.split(r"\n\s*\n", source.strip("\n"))
    about = [b for b in blocks if b.startswith(("**Needs:**", "**You will be able to**"))]
    rest = [b for b in blocks if b not in about]
    at = 1 + (len(rest) > 1 and rest[1].startswith(">"))
    time = f"About {took} minute{'' if took == 1 else 's'}"
    head = ":::::{container} chapter-head\n" + "\n\n".join([time, *about]) + "\n:::::"
    return "\n\n".join([*rest[:at], head, *rest[at:]])


def turn():
    "The line above the cell that the reader fills in."
    words = (
        "**Your turn.** Replace the line that raises, then run the cell to see whether it is right."
    )
    return nbformat.v4.new_markdown_cell(f":::{{container}} your-turn\n{words}\n:::")


def problems():
    "Directives that contradict each other or lead nowhere, a line each."
    return [line for path in notebooks() for line in problems_of(path)]


def problems_of(path):
    where, cells = path.relative_to(ROOT).as_posix(), read_notebook(path).cells
    checks = without_answer, folded_twice, misplaced, passed_over, unseen
    return [f"{where}: {line}" for check in checks for line in check(cells)]


def marked(cells):
    "The directives and the code of each code cell."
    return [(directives(c), without_directives(c)) for c in cells if c.cell_type == "code"]


def first_line(source):
    return repr((source.splitlines() or [""])[0])


def without_answer(cells):
    "Blanks and solutions that do not belong together, or to an exercise."
    exercises = {m for c in cells if c.cell_type == "markdown" for m in EXERCISE.findall(c.source)}
    blanks = [said(marks, "blank") for marks, _ in marked(cells)]
    solutions = [said(marks, "solution") for marks, _ in marked(cells)]
    for kind, labels in (("blank", blanks), ("solution", solutions)):
        for label in filter(lambda x: x is not None, labels):
            if label not in exercises:
                yield f"`#| {kind}: {label}` names no exercise of the chapter"
            if labels.count(label) > 1:
                yield f"`#| {kind}: {label}` stands on more than one cell"
    for label in set(filter(None, blanks)) ^ set(filter(None, solutions)):
        has, lacks = ("blank", "solution") if label in blanks else ("solution", "blank")
        yield f"`#| {has}: {label}` has no `#| {lacks}: {label}`"


def folded_twice(cells):
    "Folds without words, with words that would be exported, or beside another way to fold."
    for marks, source in marked(cells):
        first = first_line(source)
        if said(marks, "fold") == "" and noun(source) is None:
            yield f"say what is folded, `#| fold: the table`, above {first}"
        if said(marks, "fold") and "export" in marks:
            yield f"the words of `#| fold` would be exported: leave them out, at {first}"
        if {"fold", "open"} <= {m.partition(":")[0] for m in marks}:
            yield f"folded and open at once: {first}"
    for cell in cells:
        if cell.metadata.get("tags"):
            yield f"a tag folds the cell: write `#| fold` instead, at {first_line(cell.source)}"


def misplaced(cells):
    "Remarks in the margin that have no paragraph beside them."
    for cell in cells:
        if cell.cell_type == "markdown" and ALONE.search(cell.source):
            yield f"put the margin above its paragraph, in {first_line(cell.source)}"


def passed_over(cells):
    "Proofs, exports and solutions that `nbdev_test` would not run, because they are slow."
    for marks, source in marked(cells):
        kinds = {m.partition(":")[0].partition(" ")[0] for m in marks}
        if "slow" in kinds and kinds & {"proves", "export", "solution"}:
            yield f"tests would pass over a proof, an export or a solution: {first_line(source)}"


def unseen(cells):
    "Tables and figures that no reader sees: a notebook shows the last value of a cell only."
    for _, source in marked(cells):
        for node in parsed(source).body[:-1]:
            made = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
            if made and ast.unparse(node.value.func) in SEEN:
                yield f"nobody sees this: wrap it in display(), {first_line(ast.unparse(node))}"
