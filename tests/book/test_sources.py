"The notebooks and the table of contents, as the book's tools need them."

import importlib
import inspect
import re

from book import (
    ROOT,
    api,
    examples,
    facts,
    measure,
    modules,
    moved,
    notebooks,
    read_notebook,
    reader,
    shown,
)
from book.equations import CARAT, NUMBERS, tagged


def test_every_notebook_is_in_the_toc():
    assert {p.name for p in (ROOT / "nbs").glob("*.ipynb")} == {p.name for p in notebooks()}


def test_files_sort_in_the_order_of_the_sidebar():
    "A file's number is its chapter's, and the numbers rise."
    numbers = [re.match(r"(\d\d)_\w+\.ipynb$", p.name) for p in notebooks()]
    assert all(numbers), [p.name for p in notebooks()]
    order = [int(n[1]) for n in numbers]
    assert order == sorted(set(order))
    assert [p.name for p in notebooks()] == sorted(p.name for p in (ROOT / "nbs").glob("*.ipynb"))


def test_no_chapter_of_the_first_edition_is_without_a_place():
    assert None not in moved.targets().values(), moved.targets()
    assert not set(moved.targets()) & {p.stem for p in notebooks()}


def prose():
    "(file, text) of all that may name a chapter."
    for p in notebooks():
        for c in read_notebook(p).cells:
            yield p.name, c.source
    paths = [*(ROOT / "nbs").glob("*.md"), *ROOT.glob("*.md"), *(ROOT / "book").glob("*.py")]
    for p in [*paths, *(ROOT / "bench").glob("*.*"), *(ROOT / "tests").glob("*.py")]:
        yield p.name, p.read_text(encoding="utf-8")


LINKED = re.compile(r"\[(?:[Cc]hapter )?(\d+)\]\((\d+)_\w+\.ipynb")
ROLE = re.compile(r"\{doc\}`(?:chapter )?(\d+) <(\d+)_")
NAMED = re.compile(r"\b[Cc]hapters?\s+(\d+)((?:(?:,| and| or| to)+\s+\d+)*)")
NEXT = re.compile(r"\[(next|previous|last) chapter\]\((\w+)\.ipynb")


def test_chapters_are_named_by_their_numbers():
    stems = [p.stem for p in notebooks()]
    numbers = {int(stem[:2]) for stem in stems}
    for name, text in prose():
        for words, to in LINKED.findall(text) + ROLE.findall(text):
            assert words == to, f"{name}: the words {words} lead to chapter {to}"
        for first, more in NAMED.findall(text):
            named = {int(n) for n in [first, *re.findall(r"\d+", more)]}
            assert named <= numbers, f"{name}: there is no chapter {named - numbers}"
        for stem in re.findall(r"\((\d\d_\w+)\.ipynb", text):
            assert stem in stems, f"{name}: there is no {stem}"
        for which, stem in NEXT.findall(text):
            there = stems.index(name.removesuffix(".ipynb")) + (1 if which == "next" else -1)
            assert stems[there] == stem, f"{name}: the {which} chapter is {stems[there]}"


def test_exercises_are_labelled_with_their_chapter():
    "The label holds the chapter's name and no number, so that it stays when chapters move."
    for p in notebooks():
        text = "\n".join(c.source for c in read_notebook(p).cells)
        labels = re.findall(r"^:label: (ex-\S+)$", text, re.M)
        name = p.stem[3:].replace("_", "-")
        assert labels == [f"ex-{name}-{i}" for i in range(1, len(labels) + 1)], p.name
        solved = re.findall(r"(?:\{solution\}|^#\| solution:) (\S+)", text, re.M)
        assert list(dict.fromkeys(solved)) == labels, p.name


def test_directives_of_cells_lead_somewhere():
    assert shown.problems() == []


def test_the_cells_that_readers_see_are_short():
    chapters = [measure.measured(path) for path in notebooks()]
    assert list(measure.problems(chapters)) == []


def test_each_equation_has_one_home():
    tags = [tag for c in facts.facts().chapters.values() for tag, _, _ in c.tags]
    equations = [tagged(tag) for tag in tags]
    assert len(equations) == len(set(equations))
    assert sorted(e.number for e in equations if e.paper == CARAT) == list(NUMBERS)


def test_each_equation_has_chapter_symbol_and_proof_and_each_public_name_an_example():
    assert facts.facts().problems() == []


STEPS = "it repeats a recorded step of published code, and only the tests have the recording"
WITHOUT_A_CALL = {
    "carat.system.System": "a protocol: nothing is made of it",
    **{f"carat.systems.{kind}.replay": STEPS for kind in ("sgm", "lsan", "hhmpn", "tailor")},
}


def test_every_public_function_class_and_method_has_an_example_that_calls_it():
    "A record is shown by the function that returns it; a constant by its value in its entry."
    lacking = set()
    for name, d in facts.facts().definitions.items():
        e = d.example
        returned = e is not None and e.via and d.name in examples.returned(e.via.node)
        if examples.is_code(d) and not returned and not (e and e.calls):
            lacking.add(name)
    assert lacking == set(WITHOUT_A_CALL)


def test_every_public_class_and_function_says_what_it_is():
    for module in modules():
        m = importlib.import_module(module)
        for name in m.__all__:
            obj = getattr(m, name)
            if inspect.isclass(obj) or inspect.isfunction(obj):
                assert (obj.__doc__ or "").strip(), f"{module}.{name} has no docstring"


def test_the_reference_has_a_page_of_every_module():
    for module in modules():
        text = api.module_page(module)
        names = re.findall(r"^`{5}\{py:\w+\} (\w+)", text, re.M)
        assert names == list(importlib.import_module(module).__all__), module


def test_citations_have_entries():
    bibliography = (ROOT / "references.bib").read_text(encoding="utf-8")
    keys = set(re.findall(r"^@\w+\{([^,]+),", bibliography, re.M))
    text = [
        c.source for p in notebooks() for c in read_notebook(p).cells if c.cell_type == "markdown"
    ]
    groups = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", "\n".join(text))
    cited = {k.strip() for group in groups for k in group.split(",")}
    assert cited <= keys, cited - keys


def test_each_caption_has_a_figure_that_readers_see():
    "Above a caption stands a cell that shows a figure and that the reader does not drop."
    for p in notebooks():
        above = []
        for c in reader.for_readers(read_notebook(p)).cells:
            if c.cell_type == "code":
                above.append(c.source)
            elif c.source.startswith("[**Figure "):
                shown = any(re.search(r"(show|frames|clips|overview)\(", s) for s in above)
                assert shown, (p.name, c.source[:80])
            if c.cell_type == "markdown":
                above = []


def test_no_symbol_carries_the_meaning_of_a_whole_row():
    "Where a row names several symbols, `;` parts their meanings, or one simple phrase fits each."
    for chapter in facts.facts().chapters.values():
        for cell in chapter.cells:
            for row in facts.symbol_rows(cell.source) if cell.kind == "markdown" else ():
                lists = re.findall(r"\$([^$]+)\$", row["symbol"])
                names = [one for tex in lists for one in facts.split_list(tex)]
                meanings = facts.split_list(row["meaning"], ";")
                if len(names) > 1 and len(meanings) != len(names):
                    several = re.search(r", | and ", row["meaning"])
                    assert len(meanings) == 1 and not several, (chapter.stem, row)
