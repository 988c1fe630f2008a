"""Builds the book: executes what has changed, makes the pages, checks them, says where they are.

A warning is an error."""

import subprocess
import sys
import time
from pathlib import Path

from . import EXECUTED, HTML, ROOT, api, digest, execute, notebooks, package_files, pages
from .facts import facts

STAMP = HTML / ".built"


CONFIGURATION = "_toc.yml", "_config.yml", "references.bib", "settings.ini", "requirements.lock"
COMMAND = "jupyter-book", "build", ".", "-q", "-n", "-W", "--keep-going"


def inputs():
    "Identifies all that the pages are made from."
    files = [
        *notebooks(),
        *(EXECUTED / p.name for p in notebooks()),
        *sorted((ROOT / "nbs").glob("*.md")),
        *sorted((ROOT / "book").rglob("*.*")),
        *package_files(),
        *sorted((ROOT / "results").rglob("*.json")),
        *(ROOT / n for n in CONFIGURATION),
    ]
    files = [f for f in files if f.is_file() and "__pycache__" not in f.parts]
    return digest(*(x for f in files for x in (f.relative_to(ROOT), f.read_bytes())))


def tools():
    """Identifies what makes the pages, and what they know of each other.

    Where it changed, every page is made anew."""
    files = [*sorted((ROOT / "book").glob("*.py")), ROOT / "settings.ini"]
    return digest(*(f.read_bytes() for f in files), facts().skeleton())


def make_pages(anew):
    "Make the pages that changed, or all of them anew."
    if wrong := facts().problems():
        lines = ["the map of equations, proofs and examples is not complete:", *wrong]
        raise SystemExit("\n".join(lines))
    print("making the pages", flush=True)
    STAMP.unlink(missing_ok=True)
    api.write_pages()
    program = str(Path(sys.executable).parent / COMMAND[0])
    command = [program, *COMMAND[1:], *(["--all"] if anew else [])]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise SystemExit("the book was not built: see the warnings above")


def main():
    if sys.argv[1:]:
        raise SystemExit("book.build takes no arguments: it builds the whole book")
    start = time.time()
    execute.main()
    made_by, now = tools(), inputs()
    made_by_before, before = STAMP.read_text().split() if STAMP.exists() else ("", "")
    if now == before:
        print("nothing has changed since the pages were built")
    else:
        make_pages(anew=made_by != made_by_before)
    if problems := pages.problems():
        raise SystemExit("the pages are not right:\n" + "\n".join(problems))
    if now != before:
        STAMP.write_text(f"{made_by} {now}")
    print(f"the book is ready after {time.time() - start:.0f} s: open file://{HTML}/index.html")


if __name__ == "__main__":
    main()
