"What the tools in book/ promise: the reader, facts and proofs, links, previews, the one page."

import asyncio
import subprocess
import sys
from multiprocessing.forkserver import _forkserver
from types import SimpleNamespace

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError, DeadKernelError

import book
from book import (
    execute,
    facts,
    formula,
    kernels,
    links,
    markdown,
    measure,
    onepage,
    previews,
    reader,
    shown,
    symbols,
)


def test_reader_shows_no_directive(cells):
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


def test_reader_gives_each_code_cell_its_own_output(cells):
    nb = cells(("c", "#| hide\n1"), ("m", "prose"), ("c", "2"))
    ran = cells(("c", "#| hide\n1"), ("c", "2"))
    for cell, text in zip(ran.cells, "12", strict=True):
        cell.outputs = [nbformat.v4.new_output("stream", text=text)]
    assert reader.for_readers(nb, ran).cells[-1].outputs[0].text == "2"


@pytest.mark.parametrize(
    "between, n", [((), 1), ((("c", "#| hide\nx = 1"),), 1), ((("m", "and"),), 2)]
)
def test_imports_that_follow_each_other_are_one_cell(cells, between, n):
    nb = cells(("c", "#| export\nimport torch"), *between, ("c", "import math"), ("c", "x = 1"))
    seen = [c.source for c in reader.for_readers(nb).cells if c.cell_type == "code"]
    assert seen == [
        *(["import torch\n\nimport math"] if n == 1 else ["import torch", "import math"]),
        "x = 1",
    ]


LONG = "\n".join(["#| export", "def f(x):", *["    x = x + 1"] * 30, "    return x"])
DRAWN = "fig, ax = plt.subplots()\nax.plot(x)\nax.set(xlabel='x')\nplots.show(fig, alt='x')"


@pytest.mark.parametrize(
    "source, words",
    [
        ("import torch", "Show the imports"),
        ("from carat import plots\n\nplots.use_style()", "Show the imports"),
        ("import os\n\nif TYPE_CHECKING:\n    import torch", "Show the imports"),
        ("import torch\n\nx = torch.ones(2)", None),
        ("plots.use_style()", None),
        (LONG, "Show f"),
        ("#| open\n" + LONG, None),
        (LONG.replace("#| export\n", ""), None),
        (DRAWN, "Show the plotting code"),
        ("#| open\n" + DRAWN, None),
        ("def draw():\n    pass\n\n" + DRAWN, None),
        ("#| fold\ndef f(): pass\ndef g(): pass", "Show f and g"),
        ("#| fold\ndef _f(): pass\nclass G: pass", "Show G"),
        ("#| fold: the table of words\nx = 1", "Show the table of words"),
        ("#| solution: ex-trial-1\nx = 1", "Show the solution"),
    ],
)
def test_a_folded_cell_says_what_it_holds(cells, source, words):
    seen = reader.for_readers(cells(("c", source))).cells[-1]
    assert seen.metadata.get("mystnb", {}).get("code_prompt_show") == words
    whole = "hide-cell" if "solution" in source else "hide-input"
    assert seen.metadata.get("tags", []) == ([whole] if words else [])


def test_many_names_are_cut_short():
    assert shown.listed(["A"]) == "A"
    assert shown.listed(["A", "B", "C"]) == "A, B and C"
    assert shown.listed(list("ABCDE")) == "A, B and 3 more"


EXERCISE = "m", "```{exercise} A half\n:label: ex-trial-1\nHalve it.\n```"
BLANK = "c", "#| blank: ex-trial-1\ndef your_half(x):\n    raise NotImplementedError"
SOLVED = "c", "#| solution: ex-trial-1\ndef your_half(x):\n    return x / 2"


def test_a_blank_is_shown_and_its_solution_folded(cells):
    blank, solved = [
        c for c in reader.for_readers(cells(EXERCISE, BLANK, SOLVED)).cells if c.cell_type == "code"
    ]
    assert shown.is_open(blank) and not shown.is_open(solved)
    captions = [c.source for c in reader.for_readers(cells(EXERCISE, BLANK)).cells]
    assert any("Your turn" in source for source in captions)


def wrong_marks(cells, folder, *pairs):
    path = folder / "98_trial.ipynb"
    nbformat.write(cells(*pairs), path)
    return "\n".join(shown.problems_of(path))


def test_directives_that_lead_nowhere_are_refused(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(shown, "ROOT", tmp_path)
    for pairs, said in (
        ((EXERCISE, BLANK, SOLVED), ""),
        ((EXERCISE, BLANK), "`#| blank: ex-trial-1` has no `#| solution: ex-trial-1`"),
        ((EXERCISE, SOLVED), "`#| solution: ex-trial-1` has no `#| blank: ex-trial-1`"),
        ((BLANK, SOLVED), "`#| blank: ex-trial-1` names no exercise"),
        ((EXERCISE, BLANK, BLANK, SOLVED), "on more than one cell"),
        ((("c", "#| fold\nx = 1"),), "say what is folded"),
        ((("c", "#| fold\n#| open\ndef f(): pass"),), "folded and open at once"),
        ((("c", "#| export\n#| fold: it\ndef f(): pass"),), "would be exported"),
        ((("m", "Prose.\n\n```{margin}\nA remark.\n```"),), "put the margin above its paragraph"),
        ((("m", "```{margin}\nA remark.\n```\n\nProse."),), ""),
        ((("c", "#| proves: 1\n#| slow\nassert 1"),), "tests would pass over a proof"),
        ((("c", "#| slow\n#| export\nx = 1"),), "tests would pass over a proof"),
        ((("c", "#| slow\nx = 1"),), ""),
        ((("c", "plots.table(rows)\nx = 1"),), "nobody sees this"),
        ((("c", "display(plots.table(rows))\nplots.show(fig)"),), ""),
    ):
        found = wrong_marks(cells, tmp_path, *pairs)
        assert (said in found) if said else not found, found


def test_cells_are_folded_in_one_way(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(shown, "ROOT", tmp_path)
    nb = cells(("c", "x = 1"))
    nb.cells[0].metadata.tags = ["hide-input"]
    nbformat.write(nb, tmp_path / "98_trial.ipynb")
    assert "a tag folds the cell" in "\n".join(shown.problems_of(tmp_path / "98_trial.ipynb"))


def test_the_head_of_a_chapter_holds_minutes_needs_and_outcomes():
    source = "# 9. T\n\n> Sub.\n\n**Needs:** a.\n\n**You will be able to** b.\n\nProse."
    title, subtitle, head, prose = shown.with_head(source, 15).split("\n\n", 2)[:2] + [
        *shown.with_head(source, 15).split("\n\n", 2)[2].rsplit("\n\n", 1)
    ]
    assert (title, subtitle, prose) == ("# 9. T", "> Sub.", "Prose.")
    said = head.split("\n", 1)[1].rsplit("\n", 1)[0].split("\n\n")
    assert said == ["About 15 minutes", "**Needs:** a.", "**You will be able to** b."]
    assert shown.with_head("# T\n\nProse.", 1).split("\n\n")[1].endswith("About 1 minute\n:::::")


def test_minutes_count_prose_and_open_code(cells):
    def took(*pairs):
        return shown.minutes(reader.for_readers(cells(*pairs)).cells)

    words, line = "word " * 2000, "x = 1\n"
    assert took(("m", words)) == 10
    assert took(("m", words), ("c", line * 125)) == 15
    assert took(("m", words), ("c", "#| fold: it\n" + line * 125)) == 10
    assert took(("m", f"```python\n{words}\n```")) == 1
    assert took(("m", "````{solution} ex-trial-1\n" + words + "\n````")) == 1


def test_exercises_are_numbered_by_chapter(monkeypatch):
    class Env:
        toc_fignumbers = {
            "nbs/98_trial": {"exercise": {"ex-trial-1": (7,), "ex-trial-2": (8,)}},
            "nbs/cite": {"exercise": {"ex-cite-1": (9,)}},
        }

    class Book:
        chapters = {"98_trial": type("C", (), {"number": "98"})}

    monkeypatch.setattr(reader, "facts", Book)
    env = Env()
    reader.number_exercises(None, env)
    assert env.toc_fignumbers["nbs/98_trial"]["exercise"] == {
        "ex-trial-1": (98, 1),
        "ex-trial-2": (98, 2),
    }
    assert env.toc_fignumbers["nbs/cite"]["exercise"] == {"ex-cite-1": (9,)}
    reader.plain_numbers(None, env)
    assert env.toc_fignumbers["nbs/98_trial"]["exercise"]["ex-trial-2"] == (8,)


def test_a_failing_notebook_is_named_with_its_cell(cells, tmp_path, monkeypatch, capsys):
    path = tmp_path / "99_wrong.ipynb"
    nbformat.write(cells(("m", "# Wrong"), ("c", "x = 1"), ("c", "assert x == 2, 'not two'")), path)
    monkeypatch.setattr(execute, "notebooks", lambda: [path])
    monkeypatch.setattr(execute, "EXECUTED", tmp_path)
    monkeypatch.setattr(execute, "seconds_before", lambda p: 1)
    monkeypatch.setattr(execute, "stale", lambda: [(path, "key")])
    with pytest.raises(SystemExit) as e:
        execute.main()
    said = str(e.value)
    assert "99_wrong.ipynb failed in cell 2" in said and "not two" in said and "x == 2" in said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux alone")
def test_a_forked_kernel_is_a_kernel(cells, tmp_path, monkeypatch):
    _forkserver._stop()  # one that other tests have started
    factory = kernels.KernelProvisionerFactory.instance()
    monkeypatch.setattr(factory, "default_provisioner_name", "local-provisioner")
    monkeypatch.setattr(kernels, "IMPORTED", ("ipykernel.kernelapp", "h5py", "matplotlib"))
    kernels.use_forked_kernels()

    def run(*sources):
        nb = cells(*(("c", source) for source in sources))
        client = execute.client_of(nb, tmp_path, lambda cell, cell_index, **_: None, [])
        asyncio.run(client.async_execute())
        return [cell.outputs[0] for cell in nb.cells]

    imported = "import os, sys\nprint('h5py' in sys.modules, 'carat' in sys.modules)"
    number = "import os\nprint(os.getpid())"
    parallel = "from concurrent.futures import ProcessPoolExecutor as Pool\n"
    parallel += "with Pool(1) as pool:\n    print(pool.submit(abs, -3).result())"
    drawn = "import matplotlib.pyplot as plt\nprint(plt.get_backend())"
    said, folder, own, three, backend = run(imported, "os.getcwd()", number, parallel, drawn)
    assert said.text == "True False\n"
    assert folder.data["text/plain"] == repr(str(tmp_path))
    assert own.text != run(number)[0].text
    assert three.text == "3\n" and "inline" in backend.text
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        run("1 / 0")
    with pytest.raises(DeadKernelError):
        run("import os\nos.kill(os.getpid(), 9)")
    _forkserver._stop()


EQ = "m", "$$y = x / 2 \\tag{4}$$"
HALF = "c", '#| export\ndef half(x):\n    "Eq. 4: a half."\n    return x / 2'
PROOF = "c", "#| proves: 4\nassert half(2) == 1"


def test_a_proof_asserts_runs_and_reaches_its_equation(trial):
    assert trial(EQ, HALF, ("m", "**It halves.** Indeed."), PROOF).wrong == []
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
    assert "which no chapter has" in trial(HALF, PROOF).wrong[0]


def test_what_the_map_lacks_is_named(trial):
    found = trial(EQ, HALF, ("c", "#| export\ndef unused(): pass")).problems()
    assert "Eq. 4 has no proof: no cell says `#| proves: 4`" in found
    assert any(p.startswith("Eq. 5 of the paper has no chapter") for p in found)
    assert "carat.trial.unused has no example: no shown cell uses it" in found


def test_the_first_use_is_the_example(trial):
    loop = "for i in range(2):\n    print(half(i))"
    f = trial(EQ, HALF, ("c", "x = [half]"), ("c", loop), ("c", "half(7)"))
    assert f.definitions["carat.trial.half"].example.code == loop


def test_an_example_shows_what_it_calls(trial):
    made = ("c", "x = half(4)"), ("c", "f = [half]"), ("c", "y = half(6)\nassert y == 3\nz = 1")
    example = trial(EQ, HALF, *made).definitions["carat.trial.half"].example
    assert example.code == "y = half(6)\nassert y == 3" and example.calls
    mentioned = trial(EQ, HALF, ("c", "f = [half]")).definitions["carat.trial.half"].example
    assert mentioned.code == "f = [half]" and not mentioned.calls


THIRD = """#| export
class third:
    "A third of something."
    def of(self, x):
        "A third of x."
        return x / 3
    def forward(self, x):
        "The same."
        return x / 3"""


def test_the_example_of_a_method_calls_it_on_its_class(trial):
    cells = (
        ("c", "print(other.of(3))"),
        ("c", "def make():\n    return third()"),
        ("c", "t = make()"),
    )
    f = trial(("c", THIRD), *cells, ("c", "print(t.of(6))"), ("c", "assert t(3) == 1"))
    assert f.definitions["carat.trial.third.of"].example.code == "print(t.of(6))"
    assert f.definitions["carat.trial.third.forward"].example.code == "assert t(3) == 1"


def test_what_a_proof_is_about():
    for text, about in (
        ("# Evidence\n\n**It is the printed sum.** Note that", "It is the printed sum"),
        (
            "prose\n\nAgainst Eq. 14 as printed, both terms:",
            "Against Eq. 14 as printed, both terms",
        ),
        ("The value $a.b$ stays. More.", "The value $a.b$ stays"),
        ("**A known case.** With $q$:\n\n$$\na = b\n$$", "A known case"),
        ("", "Evidence"),
    ):
        assert markdown.lead(text, "Evidence") == about


def test_symbols_have_one_spelling():
    spellings = r"\boldsymbol{U}_{\alpha}^{t}", r"U_\alpha^t", r"\mathbf U^t_\alpha"
    assert len(set(map(facts.plain_tex, spellings))) == 1
    assert facts.plain_tex(r"\tilde y") != facts.plain_tex("y")
    assert facts.split_list(r"a_{i,j}, P(S \mid y, L); b") == ["a_{i,j}", r"P(S \mid y, L)", "b"]
    assert symbols.symbol_id("B") != symbols.symbol_id("b")


def test_each_symbol_of_a_row_has_its_own_meaning():
    assert facts.each_own("rows, $3BM$; size of the queue", 2, ";") == [
        "rows, $3BM$",
        "size of the queue",
    ]
    assert facts.each_own("`a` (B, C), `b` (B,)", 2) == ["`a` (B, C)", "`b` (B,)"]
    assert facts.each_own("(B, M, C, d)", 2) == ["(B, M, C, d)"] * 2
    table = (
        "| symbol | meaning |",
        "| --- | --- |",
        "| $n$, $K$ | rows; size |",
        "| $d$ | width |",
    )
    cell = SimpleNamespace(kind="markdown", source="\n".join(table))
    found = facts.symbols_of(SimpleNamespace(stem="x", cells=[cell]))
    assert [(s.tex, s.meaning) for s in found] == [("n", "rows"), ("K", "size"), ("d", "width")]


def test_symbols_have_names_to_be_heard():
    assert symbols.spoken(r"\boldsymbol{U}_\alpha^m") == "U alpha m"
    assert symbols.spoken(r"\tilde{D}") == "tilde D"


def test_controls_are_called_what_they_show(monkeypatch):
    monkeypatch.setattr(links, "symbol_names", lambda: {"symbol-d": "symbol D"})
    link = '<a class="to-symbol reference internal" href="symbols.html#symbol-d">'
    page = f'<summary aria-label="Toggle hidden content"><p>Show Encoder</p></summary>{link}'
    assert links.with_names(page) == (
        "<summary><p>Show Encoder</p></summary>" + link[:-1] + ' aria-label="symbol D">'
    )


def test_the_limits_of_cells_are_measured(tmp_path, cells):
    path = tmp_path / "98_trial.ipynb"
    long = "y = 2\n" * 40
    nbformat.write(
        cells(("m", "two words"), ("c", "x = 1\n\ny = 2"), ("c", "#| fold: it\n" + long)), path
    )
    m = measure.measured(path)
    assert (m.lines, m.words, m.minutes) == ([2], 2, 1)
    assert list(measure.problems([m])) == []
    nbformat.write(cells(("c", long), ("c", "x = " + "1" * 97)), path)
    found = "\n".join(measure.problems([measure.measured(path)]))
    assert "median" in found and "fewer than 15" in found and "101 characters" in found


def test_a_commit_is_named_only_in_the_projects_own_history(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "ROOT", tmp_path)
    assert book.commit() is None
    for words in ("init -q", "-c user.name=a -c user.email=a@b commit -q --allow-empty -m x"):
        subprocess.run(["git", "-C", str(tmp_path), *words.split()], check=True)
    assert len(book.commit()) == 12
    (tmp_path / "inner").mkdir()
    monkeypatch.setattr(book, "ROOT", tmp_path / "inner")
    assert book.commit() is None


def test_tables_keep_bars_in_code_and_mathematics():
    assert facts.cells_of_row("| $a | b$ | `x | y` | z |") == ["$a | b$", "`x | y`", "z"]


def test_previews_are_plain_html():
    text = previews.inline("**bold** `a<b` $x < y$ [words](page.ipynb) {cite}`key`")
    assert text == r'<b>bold</b> <code>a&lt;b</code> <span class="math">\(x &lt; y\)</span> words'


def test_figures_are_numbered_and_the_lead_stands_first(cells):
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
    third = {"text/markdown": "**Figure.** Three $x$."}
    ran.cells[1].outputs = [nbformat.v4.new_output("display_data", third)]
    seen = reader.for_readers(nb, ran, "14").cells
    assert seen[1].outputs[0].text == "shown" and seen[1].metadata.tags == ["remove-input"]
    assert seen[3].source == "x" and not seen[3].outputs
    only_caption = next(c for c in seen if c.source == "y")
    assert only_caption.metadata.tags == ["remove-cell"]
    assert [c.source for c in seen if "Figure" in c.source] == [
        "[**Figure 14.1.**]{#fig-14-1} One.",
        "[**Figure 14.2.**]{#fig-14-2} (real). Two.",
        "[**Figure 14.3.**]{#fig-14-3} Three $x$.",
    ]


def test_the_caption_of_a_lead_stands_below_it(cells):
    nb = cells(
        ("m", "# Title"),
        ("m", "prose"),
        ("c", "#| lead\nx"),
        ("c", "#| hide\ny"),
        ("m", "**Figure.** One."),
        ("m", "**Figure.** Two."),
    )
    assert [c.source for c in reader.for_readers(nb, None, "14").cells] == [
        "# 14. Title",
        "x",
        "[**Figure 14.1.**]{#fig-14-1} One.",
        "prose",
        "x",
        "[**Figure 14.2.**]{#fig-14-2} Two.",
    ]


@pytest.mark.parametrize(
    "tex, marked",
    [
        # the index that names it is its own, the other is not
        (r"\boldsymbol{U}_{\alpha}^{t}", r"\class{k-U_\alpha}{\boldsymbol{U}}_{\alpha}^{t}"),
        (r"e^\top e' / \tau", r"\class{k-e}{e}^\top \class{k-e}{e}' / \class{k-\tau}{\tau}"),
        # an index without braces gets them
        (r"\sum_{m}^M x_m", r"\sum_{\class{k-m}{m}}^{\class{k-M}{M}} x_{\class{k-m}{m}}"),
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
        # and so does an argument
        (
            r"\frac m 2 \sqrt M \sqrt[3]{m}",
            r"\frac{ \class{k-m}{m}} 2 \sqrt{ \class{k-M}{M}} \sqrt[3]{\class{k-m}{m}}",
        ),
    ],
)
def test_symbols_are_marked_within_a_formula(tex, marked):
    known = {facts.plain_tex(s): f"k-{s}" for s in (r"U_\alpha", "e", r"\tau", "m", "M")}
    assert formula.Formula(tex, lambda t: known.get(facts.plain_tex(t))).marked() == marked


@pytest.mark.parametrize(
    "before, after",
    [
        ('<p id="a"></p>', '<p id="11_a--a"></p>'),
        ('<a href="#a"></a>', '<a href="#11_a--a"></a>'),
        ('<a href="12_b.html#c"></a>', '<a href="#12_b--c"></a>'),
        ('<a href="https://x.org/12_b.html"></a>', '<a href="https://x.org/12_b.html"></a>'),
        ('<img src="../_images/i.png">', '<img src="_images/i.png">'),
    ],
)
def test_links_on_the_one_page(before, after):
    assert onepage.fitted(before, "11_a", {"11_a", "12_b"}) == after
