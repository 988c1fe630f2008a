"The rendered pages, the toc, and what the tools in book/ promise. Checks of pages are skipped until `make book` has made them."

import json
import re
from collections import Counter
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from browser import Browser, chromium

from book import (
    HTML,
    ROOT,
    address,
    execute,
    facts,
    links,
    made,
    notebooks,
    onepage,
    pages,
    previews,
    read_notebook,
    reader,
    settings,
    toc_pages,
)

needs_pages = pytest.mark.skipif(
    not (HTML / ".built").exists(), reason="the book has not been built: run make book"
)
needs_browser = pytest.mark.skipif(
    chromium() is None, reason="there is no chromium on this machine"
)


# the sources


def test_every_notebook_is_in_the_toc():
    assert {p.name for p in (ROOT / "nbs").glob("*.ipynb")} == {p.name for p in notebooks()}


def test_each_equation_has_one_home():
    tags = [
        t
        for p in notebooks()
        for c in read_notebook(p).cells
        if c.cell_type == "markdown"
        for t in re.findall(r"\\tag\{(\d+)\}", c.source)
    ]
    assert sorted(map(int, tags)) == list(facts.EQUATIONS)


def test_each_equation_has_chapter_symbol_and_proof_and_each_public_name_an_example():
    assert facts.facts().problems() == []


def test_citations_have_entries():
    keys = set(
        re.findall(r"^@\w+\{([^,]+),", (ROOT / "references.bib").read_text(encoding="utf-8"), re.M)
    )
    cited = {
        k.strip()
        for p in notebooks()
        for c in read_notebook(p).cells
        if c.cell_type == "markdown"
        for group in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", c.source)
        for k in group.split(",")
    }
    assert cited <= keys, cited - keys


def test_each_caption_has_a_figure_that_readers_see():
    "Above a caption stands a cell that shows a figure and that the reader does not drop."
    for p in notebooks():
        seen, above = reader.for_readers(read_notebook(p)).cells, []
        for c in seen:
            if c.cell_type == "code":
                above.append(c.source)
            elif c.source.startswith("[**Figure "):
                assert any(re.search(r"(show|frames|clips)\(", s) for s in above), (
                    p.name,
                    c.source[:80],
                )
            if c.cell_type == "markdown":
                above = []


# the tools


def cells(*pairs):
    make = {"m": nbformat.v4.new_markdown_cell, "c": nbformat.v4.new_code_cell}
    return nbformat.v4.new_notebook(cells=[make[kind](source) for kind, source in pairs])


def test_reader_shows_no_directive():
    nb = cells(
        ("m", "# Title"),
        ("c", "#| default_exp x"),
        ("c", "#| hide\nsecret = 1"),
        ("c", "#| export\nimport torch"),
        ("c", "#| export\ndef f(): pass"),
    )
    seen = reader.for_readers(nb, number="11").cells
    assert [c.source for c in seen] == ["# 11. Title", "import torch", "def f(): pass"]
    assert seen[1].metadata.tags == ["hide-input"] and "tags" not in seen[2].metadata


def test_reader_gives_each_code_cell_its_own_output():
    nb = cells(("c", "#| hide\n1"), ("m", "prose"), ("c", "2"))
    ran = cells(("c", "#| hide\n1"), ("c", "2"))
    for cell, text in zip(ran.cells, "12"):
        cell.outputs = [nbformat.v4.new_output("stream", text=text)]
    assert reader.for_readers(nb, ran).cells[-1].outputs[0].text == "2"


def test_equations_get_number_and_target():
    text = reader.with_equations(
        "before\n\n$$\na = b \\tag{4}\n$$\n\n```\n$$x \\tag{5}$$\n```\n$$c = d$$\n"
    )
    assert "(eq-4)=" in text and r"\begin{equation}a = b\tag{4}\end{equation}" in text
    assert r"$$x \tag{5}$$" in text and "$$c = d$$" in text
    assert r"\begin{split}a\\b\end{split}" in reader.with_equations("$$\na\\\\b\n\\tag{6}\n$$")


def test_a_failing_notebook_is_named_with_its_cell(tmp_path, monkeypatch, capsys):
    path = tmp_path / "99_wrong.ipynb"
    nbformat.write(cells(("m", "# Wrong"), ("c", "x = 1"), ("c", "assert x == 2, 'not two'")), path)
    monkeypatch.setattr(execute, "notebooks", lambda: [path])
    monkeypatch.setattr(execute, "EXECUTED", tmp_path)
    monkeypatch.setattr(execute, "seconds_before", lambda p: 1)
    monkeypatch.setattr(execute, "stale", lambda: [(path, "key")])
    with pytest.raises(SystemExit) as e:
        execute.main()
    assert (
        "99_wrong.ipynb failed in cell 2" in str(e.value)
        and "not two" in str(e.value)
        and "x == 2" in str(e.value)
    )


def chapter(*pairs, stem="98_trial", module="carat.trial"):
    "A Facts of one chapter whose public names are those given in it."
    nb = cells(*pairs)
    out = facts.Chapter(stem, "Trial", [], module, {})
    text = ""
    for i, c in enumerate(nb.cells):
        marks = facts.directives(c) if c.cell_type == "code" else []
        out.cells.append(
            facts.Cell(
                stem,
                i,
                c.cell_type,
                facts.without_directives(c),
                marks,
                c.id,
                text,
                "",
                runs=facts.is_run(c),
                seconds=0.1,
            )
        )
        if c.cell_type == "markdown":
            text = c.source
    return out


@pytest.fixture
def trial(monkeypatch):
    "Facts of one small chapter, made from (kind, source) pairs."

    def make(*pairs):
        c = chapter(*pairs)
        monkeypatch.setattr(facts, "notebooks", lambda: [Path("98_trial.ipynb")])
        monkeypatch.setattr(facts, "read_chapter", lambda path: c)
        monkeypatch.setattr(facts, "public_names", lambda module: ["half", "unused"])
        return facts.Facts()

    return make


EQ, HALF = (
    ("m", "$$y = x / 2 \\tag{4}$$"),
    ("c", '#| export\ndef half(x):\n    "Eq. 4: a half."\n    return x / 2'),
)


def test_equations_are_found_in_prose():
    assert facts.mentioned("Eq. 6, Eq. 7 and the queue") == {6, 7}
    assert facts.mentioned("Eq. 11 to 14; Eqs. 2, 3 and 17") == {11, 12, 13, 14, 2, 3, 17}
    assert facts.mentioned("Eq. 40, Table 4, equation") == set()


def test_a_proof_asserts_runs_and_reaches_its_equation(trial):
    assert (
        trial(
            EQ, HALF, ("m", "**It halves.** Indeed."), ("c", "#| proves: 4\nassert half(2) == 1")
        ).wrong
        == []
    )
    through = ("c", "f = lambda x: half(x)"), ("c", "#| proves: 4\nassert f(2) == 1")
    assert trial(EQ, HALF, *through).wrong == []
    for cell, word in (
        ("half(2)", "asserts nothing"),
        ("assert 1 + 1 == 2", "reaches none"),
        ("#| eval: false\nassert half(2) == 1", "does not run"),
        ("#| hide\nassert half(2) == 1", "do not see it"),
    ):
        wrong = trial(EQ, HALF, ("c", "#| proves: 4\n" + cell)).wrong
        assert len(wrong) == 1 and word in wrong[0] and "98_trial" in wrong[0]
    assert (
        "which no chapter has" in trial(HALF, ("c", "#| proves: 4\nassert half(2) == 1")).wrong[0]
    )


def test_what_the_map_lacks_is_named(trial):
    found = trial(EQ, HALF, ("c", "#| export\ndef unused(): pass")).problems()
    assert "equation 4 has no proof: no cell says `#| proves: 4`" in found
    assert any(p.startswith("equation 5 of the paper has no chapter") for p in found)
    assert "carat.trial.unused has no example: no shown cell uses it" in found


def test_the_first_use_is_the_example(trial):
    f = trial(
        EQ,
        HALF,
        ("c", "x = [half]"),
        ("c", "for i in range(2):\n    print(half(i))"),
        ("c", "half(7)"),
    )
    assert (
        f.definitions["carat.trial.half"].example.code == "for i in range(2):\n    print(half(i))"
    )


def test_what_a_proof_is_about():
    assert (
        made.lead("# Evidence\n\n**It is the printed sum.** Note that", "Evidence")
        == "It is the printed sum"
    )
    assert (
        made.lead("prose\n\nAgainst Eq. 14 as printed, both terms:", "")
        == "Against Eq. 14 as printed, both terms"
    )
    assert made.lead("The value $a.b$ stays. More.", "") == "The value $a.b$ stays"
    assert made.lead("**A known case.** With $q$:\n\n$$\na = b\n$$", "") == "A known case"
    assert made.lead("", "Evidence") == "Evidence"


def test_symbols_have_one_spelling():
    assert (
        facts.plain_tex(r"\boldsymbol{U}_{\alpha}^{t}")
        == facts.plain_tex(r"U_\alpha^t")
        == facts.plain_tex(r"\mathbf U^t_\alpha")
    )
    assert facts.plain_tex(r"\tilde y") != facts.plain_tex("y")
    assert facts.split_list(r"a_{i,j}, P(S \mid y, L); b") == ["a_{i,j}", r"P(S \mid y, L)", "b"]
    assert made.symbol_id("B") != made.symbol_id("b")


def test_tables_keep_bars_in_code_and_mathematics():
    assert facts.cells_of_row("| $a | b$ | `x | y` | z |") == ["$a | b$", "`x | y`", "z"]


def test_previews_are_plain_html():
    text = previews.inline("**bold** `a<b` $x < y$ [words](page.ipynb) {cite}`key`")
    assert text == r'<b>bold</b> <code>a&lt;b</code> <span class="math">\(x &lt; y\)</span> words'


def test_figures_are_numbered_and_the_lead_stands_first():
    nb = cells(
        ("m", "# Title"),
        ("m", "**Figure.** One."),
        ("c", "#| lead\nx"),
        ("m", "prose"),
        ("m", "**Figure** (real). Two."),
        ("c", "y"),
    )
    ran = cells(("c", "#| lead\nx"), ("c", "y"))
    ran.cells[0].outputs = [nbformat.v4.new_output("stream", text="shown")]
    ran.cells[1].outputs = [
        nbformat.v4.new_output("display_data", {"text/markdown": "**Figure.** Three $x$."})
    ]
    seen = reader.for_readers(nb, ran, "14").cells
    assert (
        seen[1].outputs[0].text == "shown"
        and seen[1].metadata.tags == ["remove-input"]
        and seen[3].source == "x"
        and not seen[3].outputs
    )
    assert next(c for c in seen if c.source == "y").metadata.tags == [
        "remove-cell"
    ]  # made a caption and nothing else
    assert [c.source for c in seen if "Figure" in c.source] == [
        "[**Figure 14.1.**]{#fig-14-1} One.",
        "[**Figure 14.2.**]{#fig-14-2} (real). Two.",
        "[**Figure 14.3.**]{#fig-14-3} Three $x$.",
    ]


@pytest.mark.parametrize(
    "tex, marked",
    [
        (
            r"\boldsymbol{U}_{\alpha}^{t}",
            r"\class{k-U_\alpha}{\boldsymbol{U}}_{\alpha}^{t}",
        ),  # the index that names it is its own, the other is not
        (r"e^\top e' / \tau", r"\class{k-e}{e}^\top \class{k-e}{e}' / \class{k-\tau}{\tau}"),
        (
            r"\sum_{m}^M x_m",
            r"\sum_{\class{k-m}{m}}^{\class{k-M}{M}} x_{\class{k-m}{m}}",
        ),  # an index without braces gets them
        (
            r"\mathcal{L}_{rec} + L_{pos} \\[2pt] \text{if } m \tag{3}",
            r"\mathcal{L}_{rec} + L_{pos} \\[2pt] \text{if } \class{k-m}{m} \tag{3}",
        ),
        (
            r"\underbrace{M}_{\texttt{beta}(m)}",
            r"\underbrace{\class{k-M}{M}}_{\texttt{beta}(\class{k-m}{m})}",
        ),
        (r"\begin{aligned} M \\ \end{aligned}", r"\begin{aligned} \class{k-M}{M} \\ \end{aligned}"),
        (
            r"\left\{ \frac{1}{M} \right\}_{m}",
            r"\left\{ \frac{1}{\class{k-M}{M}} \right\}_{\class{k-m}{m}}",
        ),
    ],
)
def test_symbols_are_marked_within_a_formula(tex, marked):
    known = {facts.plain_tex(s): f"k-{s}" for s in (r"U_\alpha", "e", r"\tau", "m", "M")}
    assert links.Formula(tex, lambda t: known.get(facts.plain_tex(t))).marked() == marked


def test_links_on_the_one_page():
    text = onepage.fitted(
        '<p id="a"></p><a href="#a"></a><a href="12_b.html#c"></a><a href="https://x.org/12_b.html"></a><img src="../_images/i.png">',
        "11_a",
        {"11_a", "12_b"},
    )
    assert (
        text
        == '<p id="11_a--a"></p><a href="#11_a--a"></a><a href="#12_b--c"></a><a href="https://x.org/12_b.html"></a><img src="_images/i.png">'
    )


# the rendered pages


@needs_pages
@pytest.mark.parametrize(
    "check",
    [
        pages.missing,
        pages.raw_marks,
        pages.broken_links,
        pages.images_without_text,
        pages.loads_from_outside,
        pages.without_preview,
        pages.one_page,
    ],
)
def test_pages(check):
    assert check() == []


@needs_pages
def test_every_chapter_can_be_downloaded_and_launched_where_there_is_an_address():
    for p in notebooks():
        raw = (HTML / "nbs" / f"{p.stem}.html").read_text(encoding="utf-8")
        for host in ("colab.research.google.com/github/", "kaggle.com/kernels/welcome?src="):
            button = rf'href="https://{re.escape(host)}[^"]*nbs/{p.name}"'
            assert bool(re.search(button, raw)) == bool(address()), (p.name, host)
        assert settings()["git_url"] not in raw or address(), p.name
        source = re.search(r'href="\.\./(_sources/[^"]*\.ipynb)"', raw)
        assert source and (HTML / source[1]).read_bytes() == p.read_bytes(), p.name


@needs_pages
def test_the_map_is_on_its_page_and_all_proofs_passed():
    text = pages.page("nbs/equations").raw
    sections = re.split(r"<h2>Equation (\d+)<", text)[1:]
    assert [int(n) for n in sections[::2]] == list(facts.EQUATIONS)
    for n, section in zip(sections[::2], sections[1::2]):
        assert f'#eq-{n}"' in section and "99_api.html#carat." in section and "#cell-" in section, (
            f"equation {n}"
        )
        assert (
            'class="passed"' in section
            and 'class="failed"' not in section
            and 'class="not-run"' not in section
        ), f"equation {n}"


@needs_pages
def test_every_public_name_has_an_entry_with_origin_and_example():
    raw = pages.page("nbs/99_api").raw
    for q, d in facts.facts().definitions.items():
        assert f'id="{q}"' in raw, f"{q} is not in the reference"
    parts = re.split(r'<dt class="sig [^"]*" id="(carat[^"]*)">', raw)
    for q, entry in zip(parts[1::2], parts[2::2]):
        d = facts.facts().definitions.get(q)
        if d is None:
            continue
        assert "Defined in" in entry, q
        if d.example:
            assert "An example that ran" in entry, q


@pytest.fixture(scope="module")
def browser():
    with Browser() as b:
        yield b


@pytest.fixture(scope="module")
def counted(request):
    "What the browser test has looked at, printed at its end."
    c = Counter()
    yield c
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        if c:
            print("\nin the browser: " + ", ".join(f"{n:,} {what}" for what, n in c.items()))


WIDER = """[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)
    .filter(e => { for (let p = e; p; p = p.parentElement) { const s = getComputedStyle(p);
        if (s.overflowX != 'visible' && p !== document.body && p.getBoundingClientRect().right <= innerWidth + 1 || s.position == 'fixed' || s.visibility == 'hidden'
            || s.display == 'none') return false } return true })
    .slice(0, 3).map(e => e.tagName + '.' + e.className)"""
KINDS = {
    "previews of equations": "article a.to-equation",
    "previews of symbols": "article a.to-symbol",
    "previews of names": "article a.to-reference",
    "previews of symbols within formulas": "article mjx-container [class*='symbol-']",
    "previews of citations": "article a[href*='bibliography.html#id']",
    "previews of names in code": "article .cell_input span.n",
}


@needs_pages
@needs_browser
@pytest.mark.parametrize("name", toc_pages())
def test_page_in_a_browser(browser, counted, name):
    "No error, no request off the machine, mathematics typeset, previews, copy buttons, nothing wider than the window; at two widths and in two themes."
    browser.errors.clear(), browser.requests.clear()
    browser.size(1280)
    browser.open(HTML / f"{name}.html")
    for width, themes in ((1280, ("light", "dark")), (390, ("dark", "light"))):
        browser.size(width)
        for theme in themes:
            browser.theme(theme)
            wide = browser.ask(WIDER)
            assert not wide, f"wider than {width} px, {theme}: {wide}"
            assert browser.ask("document.documentElement.scrollWidth") <= width
            counted["views"] += 1
    assert (
        browser.ask("document.querySelectorAll('mjx-merror, [data-mml-node=merror]').length") == 0
    )
    assert (
        browser.ask(
            "[...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container')).length"
        )
        == 0
    )
    assert (
        browser.ask(
            "[...document.images].filter(i => i.complete && !i.naturalWidth && i.loading != 'lazy').length"
        )
        == 0
    )
    text = browser.ask(
        "(() => { const a = document.querySelector('article').cloneNode(true); a.querySelectorAll('pre, code, script, mjx-container').forEach(e => e.remove()); return a.textContent })()"
    )
    assert not re.search(r"^#\s*\||\\(?:boldsymbol|mathcal|tag)\b|\$\$|\{made\}", text, re.M), (
        "something shows as it is written"
    )
    bare = browser.ask(
        "[...document.querySelectorAll('article div.highlight pre')].filter(e => e.id.startsWith('codecell') && !e.parentElement.querySelector('.copybtn')).length"
    )
    assert bare == 0, f"{bare} blocks of code without a copy button"
    browser.size(1280)
    for kind, selector in KINDS.items():
        if kind.endswith("in code"):
            continue
        if got := browser.point(selector):
            assert got["text"].strip() and not got["raw"] and got["inside"], f"{kind}: {got}"
            counted[kind] += 1
    counted["formulas"] += browser.ask("document.querySelectorAll('article mjx-container').length")
    counted["images"] += browser.ask(
        "document.querySelectorAll('article img, article svg[role=img]').length"
    )
    counted["copy buttons"] += browser.ask("document.querySelectorAll('article .copybtn').length")
    counted["links"] += len(pages.page(name).links)
    assert browser.errors == []
    assert [
        u for u in browser.requests if not u.startswith(("file:", "data:", "blob:", "about:"))
    ] == []
    files = {Path(unquote(urlsplit(u).path)) for u in browser.requests if u.startswith("file:")}
    own, loaded, raw = pages.weight(name, files)
    assert own + loaded < 1_000_000, f"{own + loaded:,} bytes without figures"
    for what, n in (
        ("bytes of the heaviest first view without figures, as servers send it", own + loaded),
        ("bytes of it unpacked", raw),
    ):
        counted[what] = max(counted[what], n)
    counted["pages"] += 1


@needs_pages
@needs_browser
def test_names_in_code_have_previews(browser, counted):
    browser.size(1280)
    browser.open(HTML / "nbs" / "99_api.html")
    names = {d.name for d in facts.facts().definitions.values() if not d.owner}
    assert (
        browser.ask(
            f"[...document.querySelectorAll('article .highlight span.n')].filter(e => {json.dumps(sorted(names))}.includes(e.textContent)).length"
        )
        > 0
    )
    i = browser.ask(
        f"[...document.querySelectorAll('article .highlight span.n')].findIndex(e => {json.dumps(sorted(names))}.includes(e.textContent))"
    )
    browser.ask(f"document.querySelectorAll('article .highlight span.n')[{i}].id = 'the-name'")
    assert browser.point("#the-name")["text"].strip()
    counted["previews of names in code"] += 1


MOVED = """[...document.querySelectorAll('.carat-moving')].map(root => {
    const range = root.querySelector('input'), looks = new Set();
    for (let k = 0; k <= +range.max; k++) {
        range.value = k; range.dispatchEvent(new Event('input'));
        looks.add([...root.querySelectorAll('[data-at]')].map(e => e.style.display).join() + [...root.querySelectorAll('[data-glide]')].map(e => e.style.transform).join() + root.querySelector('output').textContent);
    }
    return looks.size == +range.max + 1 && getComputedStyle(root.querySelector('.carat-control')).display == 'flex' })"""
PICKED = """[...document.querySelectorAll('.carat-clips')].map(root => {
    const clip = root.querySelector('.clip'), buttons = [...clip.querySelectorAll('button')], looks = new Set(), select = root.querySelector('select');
    for (const b of buttons) {
        b.click(); looks.add([...clip.querySelectorAll('[data-a]')].map(e => e.style.getPropertyValue('--a')).join());
        if (buttons.filter(x => x.getAttribute('aria-pressed') == 'true').length != 1 || b.getAttribute('aria-pressed') != 'true') return false;
    }
    if (select) { select.value = 1; select.dispatchEvent(new Event('change')); if (!clip.hidden || root.querySelectorAll('.clip')[1].hidden) return false; }
    return looks.size > 1 })"""


@needs_pages
@needs_browser
def test_figures_move_when_the_reader_moves_them(browser, counted):
    moving = {
        p: pages.page(p).raw
        for p in pages.built()
        if re.search("carat-moving|carat-clips", pages.page(p).raw)
    }
    assert {
        "nbs/00_start",
        "nbs/22_label_attention",
        "nbs/25_contrast",
        "nbs/26_prototypes",
        "nbs/27_shuffle",
    } <= set(moving)
    for p in moving:
        browser.errors.clear()
        browser.size(1280)
        browser.open(HTML / f"{p}.html")
        moved, picked = browser.ask(MOVED), browser.ask(PICKED)
        assert all(moved) and all(picked) and moved + picked and browser.errors == [], p
        counted["figures that move"] += len(moved)
        counted["utterances to pick from"] += len(picked)


@lru_cache
def words_of_pages():
    "For every page the longer words of its paragraphs, in small letters."

    def prose(p):
        return re.sub(
            r"<(code|span class=.math).*?</(code|span)>|<[^>]*>|&\w+;",
            " ",
            " ".join(re.findall(r"<p>(.*?)</p>", onepage.article(pages.page(p).raw), re.S)),
            flags=re.S,
        )

    return {p: set(re.findall(r"\b[a-z]{6,}\b", prose(p).lower())) for p in pages.built()}


@needs_pages
@needs_browser
@pytest.mark.parametrize("name", toc_pages())
def test_search_finds_a_word_of_each_page(browser, counted, name):
    browser.errors.clear(), browser.requests.clear()
    words = words_of_pages()
    rare = min(
        sorted(words[name], key=lambda w: (-len(w), w)),
        key=lambda w: sum(w in other for other in words.values()),
    )
    browser.open((HTML / "search.html").resolve().as_uri() + f"?q={rare}")
    for _ in range(60):
        found = browser.ask(
            "new Promise(r => setTimeout(() => r([...document.querySelectorAll('#search-results li a')].map(a => a.getAttribute('href'))), 50))"
        )
        if any(f"{name}.html" in f for f in found):
            break
    assert any(f"{name}.html" in f for f in found), (
        f"{rare!r} is on {name}, but the search found {found[:5]}"
    )
    assert (
        browser.errors == []
        and [u for u in browser.requests if not u.startswith(("file:", "data:", "blob:"))] == []
    )
    counted["searches"] += 1


@needs_pages
@needs_browser
def test_the_one_page_opens(browser, counted):
    browser.errors.clear(), browser.requests.clear()
    browser.size(1280)
    browser.open(HTML / "print.html", patience=300)
    assert browser.ask("document.querySelectorAll('section.page').length") == len(toc_pages())
    assert (
        browser.ask("document.querySelectorAll('mjx-merror, [data-mml-node=merror]').length") == 0
    )
    assert (
        browser.ask(
            "[...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container')).length"
        )
        == 0
    )
    assert (
        browser.errors == []
        and [u for u in browser.requests if not u.startswith(("file:", "data:"))] == []
    )
    counted["formulas of the one page"] = browser.ask(
        "document.querySelectorAll('mjx-container').length"
    )
