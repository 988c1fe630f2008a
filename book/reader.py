"""The Sphinx extension that reads the notebooks: nbdev's directives stay the one source of truth,
and the reader sees none of them.

For each notebook it takes the outputs of the executed copy, drops cells marked `hide` or
`default_exp`, strips the directives, folds cells (`shown.py` has the rule), joins cells of imports
that follow each other, numbers the chapter, its figures and its exercises, sets minutes and
prerequisites below the title, shows what a cell marked `lead` made at the top of the page, with the
caption that follows it, and turns `\\tag{6}` into an equation that `#eq-6` points at
(`\\tag{TAILOR 3}`: `#eq-tailor-3`). Every cell gets an anchor, exported ones a line that leads to
the reference, those that show a recorded run one that leads to it.
It also sets what depends on settings.ini (addresses, launch buttons) and puts a local MathJax
beside the pages."""

import copy
import importlib.util
import json
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
from sphinx.errors import ExtensionError

from . import (
    EXECUTED,
    ROOT,
    address,
    api,
    code_digest,
    digest,
    directives,
    execute,
    links,
    made,
    moved,
    notebooks,
    onepage,
    previews,
    read_notebook,
    settings,
    shown,
    without_directives,
)
from .equations import TAG, tagged
from .facts import facts
from .markdown import count, reference
from .status import run_label

DISPLAY = re.compile(r"^\$\$\s*(.+?)\s*\$\$[ \t]*$", re.M | re.S)
CAPTION = re.compile(r"\A\*\*Figure\.?\*\*")
LINKS = {"text/html": r'(href="\w+)\.ipynb', "text/markdown": r"(\]\(\w+)\.ipynb"}
FENCED = re.compile(r"^(`{3,}|~{3,}).*?^\1[ \t]*$", re.M | re.S)


def target(tag):
    "The anchor of a tagged formula."
    try:
        return tagged(tag).target
    except ValueError:  # the map of the equations refuses such a tag
        return f"eq-{tag}"


def equation(match):
    "A display formula with a tag as a block that carries its number and its target."
    body = match[1]
    if not (tags := TAG.findall(body)):
        return match[0]
    if not body.startswith((r"\begin{align}", r"\begin{gather}")):
        rest = TAG.sub("", body)
        if r"\\" in re.sub(r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}", "", rest, flags=re.S):
            rest = rf"\begin{{split}}{rest}\end{{split}}"
        body = rf"\begin{{equation}}{rest}\tag{{{tags[0]}}}\end{{equation}}"
    targets = "\n".join(f"({target(t)})=" for t in tags)
    return f"{targets}\n```{{math}}\n:nowrap:\n\n{body}\n```\n"


def with_equations(source):
    "Replace display formulas outside fenced blocks."
    out, end = [], 0
    for fence in FENCED.finditer(source):
        out += [DISPLAY.sub(equation, source[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*out, DISPLAY.sub(equation, source[end:])])


def aside(kind, text):
    return nbformat.v4.new_markdown_cell(f":::{{container}} {kind}\n{text}\n:::")


def beside(cell):
    "The lines below a cell: to the reference for what it exports, to the runs that it reads."
    f = facts()
    names = [reference(d) for d in f.definitions.values() if d.cell is cell and not d.owner]
    if names:
        yield aside("to-entries", "In the reference: " + ", ".join(names))
    if runs := f.runs_of(cell):
        those = ", ".join(f"[{r}](#{run_label(r)})" for r in runs)
        said = "Recorded runs with configuration, data, device, seed and versions: "
        yield aside("to-runs", said + those)


def colophon(chapter):
    "The last line of a chapter: where its numbers come from."
    ran, e = chapter.ran, chapter.ran.get("environment", {})
    on = [
        e.get("device"),
        count(e["threads"], "thread") if "threads" in e else "",
        f"torch {e['torch']}" if "torch" in e else "",
    ]
    on = ", ".join(filter(None, on))
    return aside(
        "colophon",
        f"The cells of this chapter ran on {ran['when']} UTC in {ran['seconds']:.0f} s"
        + (f" ({on})" if on else "")
        + ". What this edition was made with: [status](status.md).",
    )


def number_figures(cells, chapter):
    "Number the captions of a chapter, each with a target: Figure 14.3 is #fig-14-3."
    n = 0
    for cell in cells:
        if cell.cell_type == "markdown" and CAPTION.match(cell.source):
            n += 1
            number = f"{chapter}.{n}" if chapter else f"{n}"
            shown = f"[**Figure {number}.**]{{#fig-{number.replace('.', '-')}}}"
            cell.source = CAPTION.sub(shown, cell.source)


def is_caption(cell):
    "A caption and nothing else."
    return bool(CAPTION.match(cell.source)) and "\n\n" not in cell.source.strip()


def is_dropped(marks):
    return bool({"hide", "hide_cell"} & set(marks)) or any(
        m.startswith("default_exp") for m in marks
    )


def pieces(cell):
    """The outputs of a cell that are themselves pieces of the book, as Markdown cells.

    The API reference is one, and so is a caption. They leave the cell."""
    out = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        text, caption = data.pop("text/myst", None), data.get("text/markdown", "")
        if not text and CAPTION.match(caption):
            text = caption
        if text:
            out.append(nbformat.v4.new_markdown_cell(made.fill(text)[0]))
            output.data = {}
            if CAPTION.match(text) and len(cell.outputs) == 1:
                cell.metadata.tags = ["remove-cell"]  # a figure is followed by its caption
        for kind, link in LINKS.items():  # what a cell made leads to pages
            if found := output.get("data", {}).get(kind):
                output.data[kind] = re.sub(link, r"\1.html", found)
    if "outputs" in cell:
        cell.outputs = [o for o in cell.outputs if o.get("data") != {}]
    return out


def anchor_of(cell):
    return nbformat.v4.new_markdown_cell(f"({cell.anchor})=")


def joined(cells, cell, anchors):
    "Whether a cell of imports went into the cell of imports before it, and its anchors with it."
    if not (cells and shown.holds_imports(cells[-1]) and shown.holds_imports(cell)):
        return False
    cells[-1].source += "\n\n" + cell.source
    cells[-1].outputs += cell.outputs
    cells[-1:] = [*anchors, cells[-1]]
    return True


def left_to_fill(cell, marks):
    "The line above a cell in which the reader solves an exercise; only what it prints stays."
    if shown.said(marks, "blank") is None:
        return []
    cell.outputs = [o for o in cell.outputs if o.output_type == "stream"]
    return [shown.turn()]


def for_readers(nb, executed=None, number=None, chapter=None):
    """The notebook as the book shows it.

    With its chapter's facts, also with anchors and the lines between cells and reference."""
    outputs = iter([c.outputs for c in executed.cells if c.cell_type == "code"] if executed else [])
    cells, leads, led, ran = [], [], False, False
    for i, cell in enumerate(nb.cells):
        code = cell.cell_type == "code"
        marks = directives(cell) if code else []
        anchors = [anchor_of(chapter.cells[i])] if chapter and code else []
        if code:
            ran, cell.outputs = True, next(outputs, cell.outputs)
        cell.source = without_directives(cell)
        if is_dropped(marks) or not cell.source.strip():
            continue
        if cell.cell_type == "markdown":
            cell.source = made.fill(with_equations(cell.source))[0]
            if number and not cells:
                cell.source = re.sub(r"\A# ", f"# {number}. ", cell.source)
            if led and is_caption(cell):
                leads.append(cell)
                led = False
                continue
        else:
            shown.fold(cell, marks)
            if joined(cells, cell, anchors):
                continue
            cells += left_to_fill(cell, marks)
        cells += [*anchors, cell, *pieces(cell)]
        led = "lead" in marks
        if led:
            leads.append(lead_of(cell))
            cell.outputs = []
        if chapter and code:
            cells += beside(chapter.cells[i])
    if chapter and ran and chapter.ran:
        cells.append(colophon(chapter))
    if chapter and cells and cells[0].cell_type == "markdown":
        cells[0].source = shown.with_head(cells[0].source, shown.minutes(cells))
    nb.cells = [*cells[:1], *leads, *cells[1:]]
    number_figures(nb.cells, number)
    return nb


def lead_of(cell):
    "The outputs of a cell, to stand at the top of the page."
    metadata = {"tags": ["remove-input"]}
    return nbformat.v4.new_code_cell(cell.source, outputs=cell.outputs, metadata=metadata)


def source_read(app, docname, source):
    path = Path(app.env.doc2path(docname))
    if made.BLOCK.search(source[0]):  # what it says may change with any notebook
        app.env.note_reread()
        source[0] = made.fill(source[0])[0] if path.suffix != ".ipynb" else source[0]
    if path.suffix != ".ipynb":
        return
    nb, ran = nbformat.reads(source[0], as_version=4), EXECUTED / path.name
    executed = read_notebook(ran) if ran.exists() else None
    if executed is None or executed.metadata.carat.code != code_digest(nb):
        raise ExtensionError(f"{docname} has not been executed")
    if any("text/myst" in o.get("data", {}) for c in executed.cells for o in c.get("outputs", [])):
        app.env.note_reread()
    app.env.note_dependency(str(ran))
    chapter = facts().chapters.get(path.stem)
    source[0] = json.dumps(for_readers(nb, executed, chapter and chapter.number, chapter))


def config_inited(app, config):
    url = address()
    on_github = urlsplit(url or "").hostname == "github.com"  # Colab and Kaggle open nothing else
    config.html_theme_options.update(
        repository_url=url or "",
        repository_branch=settings()["branch"],
        path_to_docs="",
        use_repository_button=url is not None,
        use_download_button=True,
        show_navbar_depth=1,
        show_toc_level=2,
        launch_buttons={"colab_url": "https://colab.research.google.com"} if on_github else {},
        search_bar_text="Search the book",
    )
    config.html_theme_options.pop("analytics", None)
    config.html_static_path = [str(ROOT / "book" / "static")]
    config.mathjax_path = "mathjax/startup.js"
    config.mathjax3_config = {
        "loader": {"load": ["input/tex", "output/chtml", "[tex]/html"]},
        "tex": {"packages": {"[+]": ["html"]}},
        "options": {"enableMenu": False},
    }


def builder_inited(app):
    "Whoever starts the build, every result is up to date before the first page is read."
    try:
        execute.main()
    except SystemExit as e:
        raise ExtensionError(str(e)) from None
    if wrong := facts().problems():
        raise ExtensionError(
            "the map of equations, proofs and examples is not complete:\n" + "\n".join(wrong)
        )


def launched_on_kaggle(colab):
    "Colab's button as one for Kaggle."
    kaggle = "https://kaggle.com/kernels/welcome?src=https://github.com"
    return {
        **colab,
        "text": "Kaggle",
        "tooltip": "Launch on Kaggle",
        "icon": "fab fa-kaggle",
        "url": colab["url"].replace("https://colab.research.google.com/github", kaggle),
    }


def plain_numbers(app, env):
    "Give Sphinx back the numbers that it counted, so that it sees which of them changed."
    env.toc_fignumbers = getattr(env, "counted_numbers", env.toc_fignumbers)
    return []


def number_exercises(app, env):
    "Exercise 22.1 is the first of chapter 22. Sphinx counts through the whole book."
    env.counted_numbers = copy.deepcopy(env.toc_fignumbers)
    for page, kinds in env.toc_fignumbers.items():
        chapter = facts().chapters.get(page.rsplit("/", 1)[-1])
        if chapter and chapter.number:
            for i, exercise in enumerate(kinds.get("exercise", {}), 1):
                kinds["exercise"][exercise] = (int(chapter.number), i)
    return []


OUTPUTS = "_executed"  # the folder of the built book with the executed notebooks


def name_notebooks(downloads, pagename, pathto):
    "Offer the notebook of a page twice: as it is written, and with what its cells gave."
    i = next(i for i, b in enumerate(downloads) if b.get("label") == "download-source-button")
    downloads[i].update(text="Notebook", tooltip="The notebook of this page, without outputs")
    executed = {
        "type": "link",
        "url": pathto(f"{OUTPUTS}/{Path(pagename).name}.ipynb", 1),
        "text": "Notebook with outputs",
        "tooltip": "The notebook of this page as it ran when the book was built",
        "icon": "fas fa-file-code",
        "label": "download-executed-button",
    }
    downloads.insert(i + 1, executed)


def page_context(app, pagename, templatename, context, doctree):
    "Names that are spoken; a Kaggle button beside Colab's; more downloads."
    context["body"] = links.with_names(context.get("body") or "")
    groups = {g.get("label"): g.get("buttons", []) for g in context.get("header_buttons", [])}
    if (downloads := groups.get("download-buttons")) is not None:
        if (EXECUTED / f"{Path(pagename).name}.ipynb").exists():
            name_notebooks(downloads, pagename, context["pathto"])
        downloads.append(
            {
                "type": "link",
                "url": context["pathto"]("print.html", 1),
                "text": "The book on one page",
                "tooltip": "The whole book on one page, for printing",
                "icon": "fas fa-print",
            }
        )
    launches = groups.get("launch-buttons", [])
    launches += [launched_on_kaggle(b) for b in launches if b["text"] == "Colab"]


MATHJAX = ("startup.js", "core.js", "input/tex.js", "input/tex", "output/chtml.js", "output/chtml")


def copy_mathjax(to):
    "Put the parts of MathJax that the pages load beside them."
    package = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent
    for part in MATHJAX:
        source, path = package / "static" / "mathjax" / part, to / part
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, path)


def build_finished(app, exception):
    if exception or app.builder.name != "html":
        return
    previews.write(app)
    onepage.write(app.outdir)
    moved.write(app.outdir)
    static = Path(app.outdir) / "_static"
    (static / "scripts" / "fontawesome.js").write_text(
        "/* the icons come from the web font; this script holds all there are, 1.5 MB */\n"
    )
    copy_mathjax(static / "mathjax")
    (Path(app.outdir) / OUTPUTS).mkdir(exist_ok=True)
    for path in notebooks():
        shutil.copy(EXECUTED / path.name, Path(app.outdir) / OUTPUTS)


def setup(app):
    api.write_pages()  # before the table of contents is read, which names them
    app.add_css_file("book.css")
    app.add_js_file(previews.FILE, loading_method="defer", priority=600)
    app.add_js_file("book.js", loading_method="defer", priority=601)
    app.set_html_assets_policy("always")  # previews on any page may hold mathematics
    # Jupyter Book sets it whether or not its extension is loaded
    app.add_config_value("comments_config", {}, "")
    app.connect("config-inited", config_inited, priority=1)
    app.connect("builder-inited", builder_inited)
    app.connect("source-read", source_read)
    app.connect("env-get-updated", plain_numbers, priority=100)
    app.connect("env-get-updated", number_exercises, priority=900)
    app.connect("doctree-resolved", links.resolved, priority=900)
    app.connect("html-page-context", page_context, priority=900)
    app.connect("build-finished", build_finished)
    return {
        "version": digest((ROOT / "book" / "reader.py").read_bytes())[:12],
        "env_version": 1,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
