"""Tools that turn the notebooks into the book, and keep them in step with the package.

`build` executes the notebooks (`execute`, in `kernels`), makes the pages (`reader` with `made` and
`links`) and checks them (`pages`). `check` compares notebooks and package, `stamp` writes
addresses."""

import configparser
import fnmatch
import hashlib
import os
import platform
import re
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import yaml

ROOT = Path(__file__).resolve().parent.parent
# NN_name.ipynb with outputs, and in its metadata the key they belong to
EXECUTED = ROOT / "_build" / "executed"
HTML = ROOT / "_build" / "html"
API = "nbs/api"  # the folder of the modules' pages, which the build writes
EXPORTED = re.compile(r"File to edit: [./]+nbs/(\S+)\.ipynb")  # the head of an exported module


def settings():
    "The [DEFAULT] section of settings.ini."
    path = ROOT / "settings.ini"
    return _read_settings(path, path.stat().st_mtime_ns)


@lru_cache(1)
def _read_settings(path, when):
    ini = configparser.ConfigParser(delimiters=["="], interpolation=None)
    ini.read(path, encoding="utf-8")
    return ini["DEFAULT"]


def address():
    """The project's public address, or None while settings.ini holds a placeholder.

    A placeholder lies under a domain that is reserved for examples (RFC 2606), so nobody owns it.
    Until it is replaced, nothing installs from the address and nothing links to it."""
    url = settings()["git_url"]
    host = (urlsplit(url).hostname or "").split(".")
    reserved = host[-1] in ("", "example", "invalid", "localhost", "test")
    return None if reserved or host[-2:-1] == ["example"] else url


def commit():
    """The commit of the project's history that stands in the folder, or None outside of a history.

    Where files differ from it, it says so."""

    def git(*words):
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if Path(git("rev-parse", "--show-toplevel") or "/").resolve() != ROOT:
            return None
        name = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except OSError:  # there is no git on this machine
        return None
    return name + (", with changes" if changed else "") if name else None


def modules():
    "The modules that notebooks export, as {carat.data.store: 81_store}, in the book's order."
    found = {}
    for path in package_files():
        if source := EXPORTED.search(path.read_text(encoding="utf-8")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts)] = source[1]
    return dict(sorted(found.items(), key=lambda item: item[1]))


def toc_pages():
    "Every page that _toc.yml names, in order, as paths without suffix relative to the root."

    def walk(node):
        yield from (node[key] for key in ("root", "file") if key in node)
        if "glob" in node:  # the pages of the modules, which the build writes
            yield from fnmatch.filter(sorted(f"{API}/{m}" for m in modules()), node["glob"])
        for key in ("parts", "chapters", "sections"):
            for child in node.get(key, []):
                yield from walk(child)

    return list(walk(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))))


def source_of(page):
    "The notebook or Markdown file of a page, or None."
    files = [ROOT / f"{page}{suffix}" for suffix in (".ipynb", ".md")]
    return next((f for f in files if f.exists()), None)


def notebooks():
    "The notebooks of the book, in its order."
    sources = {p: source_of(p) for p in toc_pages() if not p.startswith(f"{API}/")}
    if missing := [page for page, source in sources.items() if source is None]:
        raise SystemExit(f"_toc.yml names pages that do not exist: {', '.join(missing)}")
    return [source for source in sources.values() if source.suffix == ".ipynb"]


def directives(cell):
    "The nbdev directives of a cell, such as ['hide'] or ['eval: false']."
    return [line[2:].strip() for line in cell.source.splitlines() if line.startswith("#|")]


def without_directives(cell):
    lines = [line for line in cell.source.split("\n") if not line.startswith("#|")]
    return "\n".join(lines).strip("\n")


def is_run(cell):
    "Whether the book runs a code cell: all but those with `eval: false`, slow ones too."
    return cell.cell_type == "code" and "eval: false" not in directives(cell)


def digest(*parts):
    h = hashlib.sha256()
    for part in parts:
        h.update(part if isinstance(part, bytes) else str(part).encode())
        h.update(b"\0")
    return h.hexdigest()


def code_digest(nb):
    "Identifies the code of a notebook; prose and directives may change without running it again."
    return digest(
        *(f"{is_run(c)} {without_directives(c)}" for c in nb.cells if c.cell_type == "code")
    )


def package_files(root=None):
    "The modules of the package, in all its folders; nbdev's own index is none of them."
    return sorted(p for p in ((root or ROOT) / "carat").rglob("*.py") if p.name != "_modidx.py")


def module_file(module):
    "The file of a module: carat.data.store is carat/data/store.py."
    return ROOT / f"{module.replace('.', '/')}.py"


def surroundings():
    "Identifies all that the outputs of a notebook depend on apart from its own code."
    files = [
        *package_files(),
        *sorted((ROOT / "results").rglob("*.json")),
        ROOT / "requirements.lock",
    ]
    parts = [x for f in files for x in (f.relative_to(ROOT), f.read_bytes())]
    if folder := os.environ.get("CARAT_DATA", "").strip():
        folder = Path(folder).expanduser().resolve()
        data = [f for f in sorted(folder.rglob("*")) if f.is_file()]
        parts += [folder, *((f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in data)]
    return digest(*parts)


def read_notebook(path):
    return nbformat.read(path, as_version=4)


def environment():
    "What the cells run on: versions, device, threads."
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return {
        "device": device,
        "threads": int(os.environ.get("OMP_NUM_THREADS") or 0) or os.cpu_count(),
        "python": platform.python_version(),
        **{p: version(p) for p in ("torch", "numpy", "h5py", "scikit-learn", "matplotlib")},
    }
