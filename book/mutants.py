"""What kills what: mistakes that one could make in an equation, and the cells that notice them.

`book/mutants.txt` declares the mutants: a piece of a chapter's exported code, and what a mistake
would make of it. `python -m book.mutants` runs the cells that prove the mutant's equation on the
mistaken code and records in `book/mutants.json` which of them fail. It runs those mutants whose
code, or the code that should notice them, has changed since they were recorded; `--all` runs all,
and the name of a chapter limits it to that chapter. The tests run what has changed, too, and fail
where no cell kills a mutant any more."""

import argparse
import ast
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import lru_cache

from . import ROOT, digest, module_file, notebooks
from .chapters import assertions, parsed, read_chapter, walked
from .equations import proved
from .markdown import count
from .needed import needed

DECLARED = ROOT / "book" / "mutants.txt"
RECORDED = ROOT / "book" / "mutants.json"
KINDS = {
    "sign": "a term has the wrong sign",
    "axis": "a sum or a softmax runs along the wrong axis",
    "mask": "what is missing takes part, or what is there does not",
    "index": "another entry is read or written",
    "normalisation": "a mean, a norm or a scale is wrong or missing",
    "weight": "a term has the wrong weight",
    "gradient": "the value is right and the gradient is not",
    "state": "something is remembered at the wrong time or in the wrong order",
    "border": "a case at the border is wrong: a tie, one entry, none",
    "default": "a default or a preset is wrong",
}
WATCHED = "carat.nn.", "carat.systems.", "carat.metrics"  # modules whose code the results depend on


class Misplaced(Exception):
    "A mutant whose code is not in its chapter, or more than once."


@dataclass(frozen=True)
class Mutant:
    "A mistake that one could make in the code of an equation."

    chapter: str  # that exports the code
    equations: tuple  # those that it breaks; none in a chapter without numbered equations
    kind: str  # of KINDS
    mistake: str  # a sentence without its full stop
    old: str  # stands exactly once in the exported code, apart from blanks
    new: str
    within: str | None = None  # the function, class or method, where `old` stands in several

    @property
    def key(self):
        place = f"{self.chapter} {self.within}" if self.within else self.chapter
        return f"{place}: {' '.join(self.old.split())} -> {' '.join(self.new.split())}"

    def spans(self, source):
        "Where `old` stands in a piece of code, as (begin, end)."
        return [m.span() for m in pattern(self.old).finditer(source) if self.covers(source, m)]

    def applied(self, source):
        "A piece of code with the mistake in it. Raises `Misplaced` unless `old` is there once."
        found = self.spans(source)
        if len(found) != 1:
            where = f"book/mutants.txt, nbs/{self.chapter}.ipynb"
            place = f" of {self.within}" if self.within else ""
            raise Misplaced(
                f"{where}: `{self.old}` occurs {len(found)} times in the exported code{place}, "
                f"not once: say where the code of this mistake is now ({self.mistake})"
            )
        ((begin, end),) = found
        return source[:begin] + self.new + source[end:]

    def covers(self, source, match):
        if self.within is None:
            return True
        first = source.count("\n", 0, match.start()) + 1
        nodes = definitions(source).get(self.within, [])
        return any(n.lineno <= first <= n.end_lineno for n in nodes)


@lru_cache(None)
def pattern(code):
    "A pattern that finds a piece of code however it is laid out on lines."
    tokens = re.findall(r"\w+|[^\w\s]", code)
    edge = r"(?<!\w)" if tokens[0][0].isidentifier() else ""
    return re.compile(edge + r"\s*".join(map(re.escape, tokens)) + r"(?!\w)" * code[-1].isalnum())


@lru_cache(None)
def definitions(source):
    "The functions, classes and methods of a piece of code, by name: `Queue.enqueue`."
    found = {}

    def walk(body, prefix):
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found.setdefault(prefix + node.name, []).append(node)
                walk(node.body if isinstance(node, ast.ClassDef) else [], f"{node.name}.")

    walk(parsed(source).body, "")
    return found


ENTRY = re.compile(r"(\w+)((?:, [\w.]+ [\w. -]+)*): (.+)((?:\n- .*)+)((?:\n\+ .*)+)")


def lines_of(block):
    "The code of lines that begin with a minus or a plus."
    return "\n".join(line[2:] for line in block.strip().split("\n"))


def entry(chapter, text):
    "A mutant from its lines in `book/mutants.txt`."
    if not (m := ENTRY.fullmatch(text)) or m[1] not in KINDS:
        raise ValueError(f"book/mutants.txt has an entry that cannot be read:\n{text}")
    said = dict(part.split(" ", 1) for part in m[2].split(", ")[1:])
    numbers = said.get("Eq.", "").replace(" and ", " ")
    equations = tuple(proved(numbers)) if numbers else ()
    return Mutant(chapter, equations, m[1], m[3], *map(lines_of, m.group(4, 5)), said.get("in"))


@lru_cache(None)
def declared():
    "The mutants of `book/mutants.txt`, in its order."
    if not DECLARED.exists():
        return []
    out, chapter = [], None
    for text in re.split(r"\n\n+", DECLARED.read_text(encoding="utf-8").strip()):
        if text.startswith("## "):
            chapter = text[3:]
        elif chapter:
            out.append(entry(chapter, text))
    return out


# where a mutant is, and what should notice it


@lru_cache(None)
def chapter_of(stem):
    return read_chapter(ROOT / "nbs" / f"{stem}.ipynb")


def code_cells(chapter):
    return [c for c in chapter.cells if c.kind == "code" and c.runs]


def module_of(mutant):
    "The module that has the code of a mutant."
    return chapter_of(mutant.chapter).module


@lru_cache(None)
def place(mutant):
    "The exported cell that a mutant changes. Raises `Misplaced` where it is not there once."
    cells = [c for c in code_cells(chapter_of(mutant.chapter)) if c.exported]
    mutant.applied("\n\n".join(c.source for c in cells))
    return next(c for c in cells if mutant.spans(c.source))


@lru_cache(None)
def proving_chapters():
    "The chapters that have cells which say what they prove, in the book's order."
    texts = {p.stem: p.read_text(encoding="utf-8") for p in notebooks()}
    return [stem for stem, text in texts.items() if "#| proves:" in text]


def equations_of(cell, chapter):
    "The equations that a cell says it proves."
    return set(proved(cell.proves, chapter.paper)) if cell.proves else set()


@lru_cache(None)
def witnesses(mutant):
    """The cells that should notice a mutant: those that prove one of its equations.

    They are in its chapter, and in others that use its module. Where it has no equation, all cells
    of its chapter that assert something."""
    if not mutant.equations:
        cells = code_cells(chapter_of(mutant.chapter))
        return [c for c in cells if assertions(c.tree) and not c.exported]
    out = []
    for stem in proving_chapters():
        if stem != mutant.chapter and module_of(mutant) not in modules_of_chapter(stem):
            continue
        chapter = chapter_of(stem)
        for cell in code_cells(chapter):
            if equations_of(cell, chapter) & set(mutant.equations):
                out.append(cell)
    return out


def plan(stem):
    "The mutants that cells of a chapter should notice, as (mutant, cells)."
    out = []
    for mutant in declared():
        here = [c for c in witnesses(mutant) if c.chapter == stem]
        if here:
            out.append((mutant, here))
    return out


def judged():
    "The chapters whose cells should notice mutants, in the book's order."
    found = {c.chapter for m in declared() for c in witnesses(m)}
    return sorted(found)


# what the results depend on


def without_docstrings(tree):
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            if isinstance(getattr(body[0].value, "value", None), str):
                del body[0]
    return tree


def only_shows(node):
    "Whether a statement only prints, or draws what has been computed."
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return False
    return ast.unparse(node.value.func).split(".")[0] in ("plots", "print")


def skeleton(node):
    "What code does, as nested tuples: nothing of layout, comments, docstrings or figures."
    if isinstance(node, list):
        return tuple(skeleton(n) for n in node if not only_shows(n))
    if not isinstance(node, ast.AST):
        return repr(node)
    # fields that are empty say nothing, and differ between versions of Python
    fields = [(k, v) for k, v in ast.iter_fields(node) if v is not None and v != []]
    return type(node).__name__, *((k, skeleton(v)) for k, v in fields if k != "kind")


@lru_cache(None)
def code_of(source):
    "Identifies what code does."
    lines = [line for line in source.split("\n") if not re.match(r"\s*[%!]", line)]
    return digest(skeleton(without_docstrings(ast.parse("\n".join(lines)))))


@lru_cache(None)
def imports(source, module=""):
    "The modules of the package that code imports; `module` is its own name, if it has one."
    found = set()
    for node in walked(parsed(source)):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            start = ".".join([*above, *filter(None, [node.module])])
            found |= {start, *(f"{start}.{a.name}" for a in node.names)}
    return frozenset(m for m in found if m.startswith("carat.") and module_file(m).exists())


def modules_of(cells):
    "The watched modules that cells import, or modules that they import."
    seen, todo = set(), {m for c in cells for m in imports(c.source)}
    while todo := todo - seen:
        seen |= todo
        todo = {x for m in todo for x in imports_of(m)}
    return sorted(m for m in seen if m.startswith(WATCHED))


@lru_cache(None)
def modules_of_chapter(stem):
    return modules_of(code_cells(chapter_of(stem)))


@lru_cache(None)
def imports_of(module):
    return imports(module_file(module).read_text(encoding="utf-8"), module)


def runs_for(stem, mutants, everything=False):
    "The cells of a chapter that run for some of its mutants, given as (mutant, cells)."
    cells = code_cells(chapter_of(stem))
    wanted = [c for _, noticing in mutants for c in noticing]
    wanted += [place(m) for m, _ in mutants if m.chapter == stem]
    last = max((c.index for c in wanted), default=-1)
    cells = [c for c in cells if c.index <= last]
    return cells if everything else needed(cells, wanted)


def state(stem, mutant, noticing):
    "Identifies all that a result depends on: cells, modules, the mutant."
    cells = runs_for(stem, [(mutant, noticing)])
    modules = [module_file(m).read_text("utf-8") for m in modules_of(cells)]
    about = mutant.key, [c.id for c in noticing]
    return digest(*about, *(code_of(c.source) for c in cells), *map(code_of, modules))[:16]


# the record


def record():
    "The record: {chapter: {mutant: {state, killed by: {cell: how it failed}}}}."
    return read_record(RECORDED.stat().st_mtime_ns) if RECORDED.exists() else {}


@lru_cache(1)
def read_record(when):
    return json.loads(RECORDED.read_text(encoding="utf-8"))


def changed(stem):
    "The mutants of a chapter whose code, or the code that should notice them, has changed."
    known = record().get(stem, {})
    return [(m, c) for m, c in plan(stem) if known.get(m.key, {}).get("state") != state(stem, m, c)]


def killers(found, mutant):
    "The cells that kill a mutant, as (chapter, cell), by a record."
    by = {stem: entries.get(mutant.key, {}) for stem, entries in found.items()}
    return [(stem, cell) for stem, result in by.items() for cell in result.get("killed by", ())]


def kills(cell, mutants):
    "Which of some mutants a cell kills by the record; None where its chapter has no record."
    if (entries := record().get(cell.chapter)) is None or not mutants:
        return None
    return [m for m in mutants if cell.id in entries.get(m.key, {}).get("killed by", ())]


def run(stem, todo, jobs=1):
    "What cells of a chapter say of mutants, given as (mutant, cells); as in the record."
    command = [sys.executable, "-m", "book.mutate", stem, "--jobs", str(jobs)]
    keys = json.dumps([m.key for m, _ in todo])
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, input=keys)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed:\n{done.stderr[-4000:]}")
    results = json.loads(done.stdout.splitlines()[-1])
    return {m.key: {"state": state(stem, m, c), "killed by": results[m.key]} for m, c in todo}


def complaint(mutant):
    names = ", ".join(map(str, mutant.equations)) or f"chapter {mutant.chapter}"
    return (
        f"no proof of {names} notices this mistake: {mutant.mistake}\n"
        f"  `{mutant.old}` -> `{mutant.new}` in nbs/{mutant.chapter}.ipynb\n"
        "  Sharpen a proof. `python -m book.mutants` then records what kills what anew."
    )


def check(stem):
    "What is wrong with the mutants of a chapter, as a list; runs those whose code has changed."
    found, todo = dict(record()), changed(stem)
    if todo:
        found[stem] = found.get(stem, {}) | run(stem, todo)
    return [complaint(m) for m, _ in plan(stem) if not killers(found, m)]


def write(found):
    "Write the record, without what is no longer declared."
    keys = {m.key for m in declared()}
    kept = {
        stem: {key: result for key, result in sorted(entries.items()) if key in keys}
        for stem, entries in sorted(found.items())
        if stem in judged()
    }
    RECORDED.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def bring_up_to_date(stem, todo, jobs):
    "Run mutants of a chapter, given as (mutant, cells), and record the results."
    start, results = time.time(), run(stem, todo, jobs)
    found = dict(record())
    write({**found, stem: found.get(stem, {}) | results})
    killed = sum(bool(result["killed by"]) for result in results.values())
    print(
        f"{stem:20} {killed:3} of {len(results):3} killed, {time.time() - start:.0f} s", flush=True
    )


def numbered(equations: tuple) -> str:
    return ", ".join(map(str, equations)) or "–"


def report():
    "Print the mutants with the cells that kill them."
    found = record()
    for mutant in declared():
        by = [f"{stem[:2]}:{cell}" for stem, cell in killers(found, mutant)]
        print(f"{numbered(mutant.equations):12} {mutant.kind:13} {mutant.mistake}")
        print(f"{'':12} {' '.join(by) or 'survives'}")


def main():
    parser = argparse.ArgumentParser(prog="python -m book.mutants", description=__doc__)
    parser.add_argument("chapters", nargs="*", help="such as 24_max_pooling; else all")
    parser.add_argument("--all", action="store_true", help="run all mutants of these chapters")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time")
    parser.add_argument("--list", action="store_true", help="print the table")
    given = parser.parse_args()
    if unknown := set(given.chapters) - set(judged()):
        raise SystemExit(f"no mutants in {', '.join(unknown)}; there are: {', '.join(judged())}")
    stems = given.chapters or judged()
    for stem in stems:
        if todo := plan(stem) if given.all else changed(stem):
            bring_up_to_date(stem, todo, given.jobs)
    if given.list:
        report()
    mutants = {m: None for stem in stems for m, _ in plan(stem)}
    if survivors := [m for m in mutants if not killers(record(), m)]:
        raise SystemExit("\n".join(map(complaint, survivors)))
    print(f"{count(len(mutants), 'mutant')}, all killed")


if __name__ == "__main__":
    main()
