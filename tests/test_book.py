"The rendered pages, the toc, and what the tools in book/ promise. Checks of pages are skipped until `make book` has made them."
import json
import re

import nbformat
import pytest
from browser import Browser, chromium

from book import HTML, ROOT, execute, notebooks, pages, read_notebook, reader, settings, stamp, toc_pages

needs_pages = pytest.mark.skipif(not (HTML/".built").exists(), reason="the book has not been built: run make book")
needs_browser = pytest.mark.skipif(chromium() is None, reason="there is no chromium on this machine")


# the sources

def test_every_notebook_is_in_the_toc():
    assert {p.name for p in (ROOT/"nbs").glob("*.ipynb")} == {p.name for p in notebooks()}


def test_address_stands_in_one_line():
    "The address of settings.ini is nowhere else but in what is stamped from it."
    url = settings()["git_url"]
    assert (ROOT/"settings.ini").read_text().count(url) == 1
    for path in [*(ROOT/"nbs").glob("*.md"), *(ROOT/"book").rglob("*.py"), *(ROOT/n for n in ("_config.yml", "_toc.yml", "Makefile", "setup.py"))]:
        assert url not in path.read_text(encoding="utf-8"), path


def test_each_equation_has_one_home():
    tags = [t for p in notebooks() for c in read_notebook(p).cells if c.cell_type == "markdown" for t in re.findall(r"\\tag\{(\d+)\}", c.source)]
    assert sorted(map(int, tags)) == list(range(1, 18))


def test_citations_have_entries():
    keys = set(re.findall(r"^@\w+\{([^,]+),", (ROOT/"references.bib").read_text(encoding="utf-8"), re.M))
    cited = {k.strip() for p in notebooks() for c in read_notebook(p).cells if c.cell_type == "markdown"
             for group in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", c.source) for k in group.split(",")}
    assert cited <= keys, cited - keys


# the tools

def cells(*pairs):
    make = {"m": nbformat.v4.new_markdown_cell, "c": nbformat.v4.new_code_cell}
    return nbformat.v4.new_notebook(cells=[make[kind](source) for kind, source in pairs])


def test_reader_shows_no_directive():
    nb = cells(("m", "# Title"), ("c", "#| default_exp x"), ("c", "#| hide\nsecret = 1"), ("c", "#| export\nimport torch"), ("c", "#| export\ndef f(): pass"))
    seen = reader.for_readers(nb, number="11").cells
    assert [c.source for c in seen] == ["# 11. Title", "import torch", "def f(): pass"]
    assert seen[1].metadata.tags == ["hide-input"] and "tags" not in seen[2].metadata


def test_reader_gives_each_code_cell_its_own_output():
    nb = cells(("c", "#| hide\n1"), ("m", "prose"), ("c", "2"))
    ran = cells(("c", "#| hide\n1"), ("c", "2"))
    for cell, text in zip(ran.cells, "12"): cell.outputs = [nbformat.v4.new_output("stream", text=text)]
    assert reader.for_readers(nb, ran).cells[-1].outputs[0].text == "2"


def test_equations_get_number_and_target():
    text = reader.with_equations("before\n\n$$\na = b \\tag{4}\n$$\n\n```\n$$x \\tag{5}$$\n```\n$$c = d$$\n")
    assert "(eq-4)=" in text and r"\begin{equation}a = b\tag{4}\end{equation}" in text
    assert r"$$x \tag{5}$$" in text and "$$c = d$$" in text
    assert r"\begin{split}a\\b\end{split}" in reader.with_equations("$$\na\\\\b\n\\tag{6}\n$$")


def test_stamp_is_stable_and_follows_the_address():
    text = notebooks()[1].read_text(encoding="utf-8")
    once = stamp.stamped(text)
    assert stamp.stamped(once) == once
    nb = json.loads(once)
    assert settings()["git_url"] in "".join(nb["cells"][1]["source"]) and nb["cells"][0]["cell_type"] == "markdown"


def test_a_failing_notebook_is_named_with_its_cell(tmp_path, monkeypatch, capsys):
    path = tmp_path/"99_wrong.ipynb"
    nbformat.write(cells(("m", "# Wrong"), ("c", "x = 1"), ("c", "assert x == 2, 'not two'")), path)
    monkeypatch.setattr(execute, "notebooks", lambda: [path])
    monkeypatch.setattr(execute, "EXECUTED", tmp_path)
    monkeypatch.setattr(execute, "seconds_before", lambda p: 1)
    monkeypatch.setattr(execute, "stale", lambda: [(path, "key")])
    with pytest.raises(SystemExit) as e: execute.main()
    assert "99_wrong.ipynb failed in cell 2" in str(e.value) and "not two" in str(e.value) and "x == 2" in str(e.value)


# the rendered pages

@needs_pages
@pytest.mark.parametrize("check", [pages.missing, pages.raw_marks, pages.broken_links, pages.images_without_text, pages.loads_from_outside])
def test_pages(check): assert check() == []


@needs_pages
def test_search_finds_a_word_of_each_chapter():
    index = (HTML/"searchindex.js").read_text(encoding="utf-8")
    for p in toc_pages(): assert f'"{p}"' in index, p


@pytest.fixture(scope="module")
def browser():
    with Browser() as b: yield b


@needs_pages
@needs_browser
@pytest.mark.parametrize("name", toc_pages())
def test_page_in_a_browser(browser, name):
    "No error, no request off the machine, mathematics typeset, nothing wider than the window, at two widths and in two themes."
    browser.errors.clear(), browser.requests.clear()
    browser.size(1280)
    browser.open(HTML/f"{name}.html")
    for width, theme in ((1280, "light"), (390, "dark")):
        browser.size(width)
        browser.theme(theme)
        wide = browser.ask("""[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)
            .filter(e => { for (let p = e; p; p = p.parentElement) { const s = getComputedStyle(p);
                if (s.overflowX != 'visible' && p !== document.body && p.getBoundingClientRect().right <= innerWidth + 1 || s.position == 'fixed' || s.visibility == 'hidden'
                    || s.display == 'none') return false } return true })
            .slice(0, 3).map(e => e.tagName + '.' + e.className)""")
        assert not wide, f"wider than {width} px: {wide}"
        assert browser.ask("document.documentElement.scrollWidth") <= width
        assert browser.ask("document.querySelectorAll('mjx-merror, [data-mml-node=merror]').length") == 0
        assert browser.ask("[...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container')).length") == 0
        assert browser.ask("[...document.images].filter(i => i.complete && !i.naturalWidth && i.loading != 'lazy').length") == 0
    assert browser.errors == []
    assert [u for u in browser.requests if not u.startswith(("file:", "data:", "blob:", "about:"))] == []
