"""The Sphinx extension that reads the notebooks: nbdev's directives stay the one source of truth, and the reader sees none of them.

For each notebook it takes the outputs of the executed copy, drops cells marked `hide` or `default_exp`, strips the
directives, folds exported imports and long exported cells, numbers the chapter, and turns `\\tag{n}` into an equation that `#eq-n` points at.
It also sets what depends on settings.ini (addresses, launch buttons) and puts a local MathJax beside the pages."""
import ast
import importlib.util
import json
import platform
import re
import shutil
from importlib.metadata import version
from pathlib import Path

import nbformat
from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

from . import EXECUTED, ROOT, code_digest, digest, directives, execute, notebooks, read_notebook, settings, surroundings

DISPLAY = re.compile(r"^\$\$\s*(.+?)\s*\$\$[ \t]*$", re.M | re.S)
FENCED = re.compile(r"^(`{3,}|~{3,}).*?^\1[ \t]*$", re.M | re.S)


def equation(match):
    "A display formula with `\\tag{n}` as a block that carries the paper's number and the target eq-n."
    body = match[1]
    if not (tags := re.findall(r"\\tag\{([^}]+)\}", body)): return match[0]
    if not body.startswith((r"\begin{align}", r"\begin{gather}")):
        rest = re.sub(r"\s*\\tag\{[^}]+\}", "", body)
        if r"\\" in re.sub(r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}", "", rest, flags=re.S): rest = rf"\begin{{split}}{rest}\end{{split}}"
        body = rf"\begin{{equation}}{rest}\tag{{{tags[0]}}}\end{{equation}}"
    targets = "\n".join(f"(eq-{t})=" for t in tags)
    return f"{targets}\n```{{math}}\n:nowrap:\n\n{body}\n```\n"


def with_equations(source):
    "Replace display formulas outside fenced blocks."
    out, end = [], 0
    for fence in FENCED.finditer(source): out += [DISPLAY.sub(equation, source[end:fence.start()]), fence[0]]; end = fence.end()
    return "".join([*out, DISPLAY.sub(equation, source[end:])])


def only_imports(source):
    try: return all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.parse(source).body)
    except SyntaxError: return False


def for_readers(nb, executed=None, number=None):
    "The notebook as the book shows it."
    outputs = [c.outputs for c in executed.cells if c.cell_type == "code"] if executed else None
    cells, seen = [], 0
    for cell in nb.cells:
        if cell.cell_type == "code":
            if outputs: cell.outputs = outputs[seen]
            seen += 1
        marks = directives(cell)
        if {"hide", "hide_cell"} & set(marks) or any(m.startswith("default_exp") for m in marks): continue
        cell.source = "\n".join(line for line in cell.source.split("\n") if not line.startswith("#|")).strip("\n")
        if not cell.source.strip(): continue
        if cell.cell_type == "markdown":
            cell.source = with_equations(cell.source)
            if number and not cells: cell.source = re.sub(r"\A# ", f"# {number}. ", cell.source)
        elif "export" in marks and (only_imports(cell.source) or cell.source.count("\n") > 45): cell.metadata.tags = [*cell.metadata.get("tags", []), "hide-input"]
        cells.append(cell)
        for output in cell.get("outputs", []): # an output that is itself a piece of the book, such as the API reference
            if text := output.get("data", {}).pop("text/myst", None):
                cells.append(nbformat.v4.new_markdown_cell(text))
                output.data = {}
            if html := output.get("data", {}).get("text/html"): # links of tables lead to pages
                output.data["text/html"] = re.sub(r'(href="\w+)\.ipynb', r"\1.html", html)
        if "outputs" in cell: cell.outputs = [o for o in cell.outputs if o.get("data") != {}]
    nb.cells = cells
    return nb


def source_read(app, docname, source):
    path = Path(app.env.doc2path(docname))
    if path.suffix != ".ipynb": return
    nb, copy = nbformat.reads(source[0], as_version=4), EXECUTED/path.name
    executed = read_notebook(copy) if copy.exists() else None
    if executed is None or executed.metadata.carat.code != code_digest(nb): raise ExtensionError(f"{docname} has not been executed")
    app.env.note_dependency(str(copy))
    number = re.match(r"\d+", path.stem)
    number = number[0] if number and number[0] != "00" else None
    source[0] = json.dumps(for_readers(nb, executed, number))


class BuildStatus(SphinxDirective):
    "A table of what this build was made with: `versions`, or what each of the `notebooks` took."
    required_arguments = 1

    def run(self):
        return self.parse_text_to_nodes(markdown_table(*(notebook_times() if self.arguments[0] == "notebooks" else build_versions())))


def markdown_table(header, align, rows):
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, align, *rows])


def build_versions():
    import torch
    cfg, packages = settings(), "torch numpy h5py scikit-learn scipy matplotlib seaborn safetensors tensorboard tyro nbdev jupyter-book sphinx"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU: no CUDA device was there"
    rows = [("the book", f"{cfg['lib_name']} {cfg['version']}, state `{surroundings()[:12]}`"), ("Python", platform.python_version()),
            ("system", f"{platform.system()} {platform.machine()}"), ("device", device), *((p, version(p)) for p in packages.split())]
    return ("what", "version"), ("---", "---"), rows


def notebook_times():
    rows = []
    for path in notebooks():
        m = read_notebook(EXECUTED/path.name).metadata.carat
        rows.append((f"[{path.stem}]({path.name})", f"{m.seconds:.1f}", m.when, m.data))
    return ("notebook", "seconds", "executed (UTC)", "data"), ("---", "---:", "---", "---"), rows


def config_inited(app, config):
    cfg = settings()
    config.html_theme_options.update(
        repository_url=cfg["git_url"], repository_branch=cfg["branch"], path_to_docs="", use_repository_button=True, use_download_button=True,
        show_navbar_depth=1, show_toc_level=2, launch_buttons={"colab_url": "https://colab.research.google.com"}, search_bar_text="Search the book")
    config.html_theme_options.pop("analytics", None)
    config.html_static_path = [str(ROOT/"book"/"static")]
    config.mathjax_path = "mathjax/startup.js"
    config.mathjax3_config = {"loader": {"load": ["input/tex", "output/chtml"]}, "options": {"enableMenu": False}}


def builder_inited(app):
    "Whoever starts the build, every result is up to date before the first page is read."
    try: execute.main()
    except SystemExit as e: raise ExtensionError(str(e)) from None


def page_context(app, pagename, templatename, context, doctree):
    "A Kaggle button beside Colab's."
    for group in context.get("header_buttons", []):
        for button in list(group.get("buttons", [])) if group.get("label") == "launch-buttons" else []:
            if button["text"] == "Colab":
                group["buttons"].append({**button, "text": "Kaggle", "tooltip": "Launch on Kaggle", "icon": "fab fa-kaggle",
                    "url": button["url"].replace("https://colab.research.google.com/github", "https://kaggle.com/kernels/welcome?src=https://github.com")})


def build_finished(app, exception):
    if exception or app.builder.name != "html": return
    source = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent/"static"/"mathjax"
    for part in ("startup.js", "core.js", "input/tex.js", "input/tex", "output/chtml.js", "output/chtml"):
        to = Path(app.outdir)/"_static"/"mathjax"/part
        if to.exists(): continue
        to.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (source/part).is_dir() else shutil.copy)(source/part, to)


def setup(app):
    app.add_directive("build-status", BuildStatus)
    app.add_css_file("book.css")
    app.add_config_value("comments_config", {}, "") # Jupyter Book sets it whether or not its extension is loaded
    app.connect("config-inited", config_inited, priority=1)
    app.connect("builder-inited", builder_inited)
    app.connect("source-read", source_read)
    app.connect("env-get-outdated", lambda app, env, added, changed, removed: ["nbs/status"] if "nbs/status" in env.found_docs else [])
    app.connect("html-page-context", page_context, priority=900)
    app.connect("build-finished", build_finished)
    return {"version": digest((ROOT/"book"/"reader.py").read_bytes())[:12], "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
