"Small chapters for the tests of the book's tools."

from pathlib import Path

import nbformat
import pytest

from book import chapters, directives, facts, is_run, without_directives


def make_cells(*pairs):
    "A notebook of (kind, source) pairs: m for Markdown, c for code."
    make = {"m": nbformat.v4.new_markdown_cell, "c": nbformat.v4.new_code_cell}
    return nbformat.v4.new_notebook(cells=[make[kind](source) for kind, source in pairs])


def make_chapter(*pairs, stem="98_trial", module="carat.trial"):
    "A chapter of (kind, source) pairs whose cells have run."
    out, text = chapters.Chapter(stem, "Trial", [], module, {}), ""
    for i, c in enumerate(make_cells(*pairs).cells):
        marks = directives(c) if c.cell_type == "code" else []
        cell = chapters.Cell(
            stem, i, c.cell_type, without_directives(c), marks, c.id, text, "", is_run(c), 0.1
        )
        out.cells.append(cell)
        if c.cell_type == "markdown":
            text = c.source
    return out


@pytest.fixture(scope="session")
def cells():
    return make_cells


@pytest.fixture
def trial(monkeypatch):
    "Facts of small chapters: one made from (kind, source) pairs, or several from {stem: pairs}."

    def make(*pairs, **several):
        several = several or {"98_trial": pairs}
        made = {stem: make_chapter(*pairs, stem=stem) for stem, pairs in several.items()}
        monkeypatch.setattr(facts, "notebooks", lambda: [Path(f"{stem}.ipynb") for stem in made])
        monkeypatch.setattr(facts, "read_chapter", lambda path: made[path.stem])
        monkeypatch.setattr(facts, "public_names", lambda module: ["half", "third", "unused"])
        return facts.Facts()

    return make
