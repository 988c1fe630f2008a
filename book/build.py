"Builds the book: executes what has changed, makes the pages with warnings as errors, checks them, and says where they are."

import subprocess
import sys
import time
from pathlib import Path

from . import EXECUTED, HTML, ROOT, digest, execute, notebooks, package_files, pages
from .facts import facts

STAMP = HTML / ".built"


def inputs():
    "Identifies all that the pages are made from."
    files = [
        *notebooks(),
        *(EXECUTED / p.name for p in notebooks()),
        *sorted((ROOT / "nbs").glob("*.md")),
        *sorted((ROOT / "book").rglob("*.*")),
        *package_files(),
        *sorted((ROOT / "results").rglob("*.json")),
        *(
            ROOT / n
            for n in (
                "_toc.yml",
                "_config.yml",
                "references.bib",
                "settings.ini",
                "requirements.lock",
            )
        ),
    ]
    files = [f for f in files if f.is_file() and "__pycache__" not in f.parts]
    return digest(*(x for f in files for x in (f.relative_to(ROOT), f.read_bytes())))


def tools():
    "Identifies what makes the pages, as opposed to what they are made from, and what they know of each other: where it changed, every page is made anew."
    return digest(
        *(f.read_bytes() for f in [*sorted((ROOT / "book").glob("*.py")), ROOT / "settings.ini"]),
        facts().skeleton(),
    )


def main():
    start = time.time()
    execute.main()
    now, before = inputs(), STAMP.read_text().split() if STAMP.exists() else ["", ""]
    if now == before[1]:
        print("nothing has changed since the pages were built")
    else:
        if wrong := facts().problems():
            raise SystemExit(
                "the map of equations, proofs and examples is not complete:\n" + "\n".join(wrong)
            )
        print("making the pages", flush=True)
        STAMP.unlink(missing_ok=True)
        anew = ["--all"] if (made_by := tools()) != before[0] else []
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "jupyter-book"),
                "build",
                ".",
                "-q",
                "-n",
                "-W",
                "--keep-going",
                *anew,
            ],
            cwd=ROOT,
        )
        if done.returncode:
            raise SystemExit("the book was not built: see the warnings above")
    if problems := pages.problems():
        raise SystemExit("the pages are not right:\n" + "\n".join(problems))
    if now != before[1]:
        STAMP.write_text(f"{made_by} {now}")
    print(f"the book is ready after {time.time() - start:.0f} s: open file://{HTML}/index.html")


if __name__ == "__main__":
    main()
