"""Writes what depends on the project's address and version into notebooks, README and CITATION.cff.

Both come from settings.ini. `python -m book.stamp` refreshes the files; with `--check` it only
says which are out of step, and exits 1 if any are."""

import json
import re
import sys

from . import ROOT, address, notebooks, settings

CELL_ID = "install"

FROM_CHECKOUT = """\
#| hide
# Where the package is missing, install it from the copy of the project that holds this notebook.
import importlib.util
import pathlib
import subprocess
import sys

if any(importlib.util.find_spec(package) is None for package in ("{name}", "fastcore")):
    for folder in (pathlib.Path.cwd(), *pathlib.Path.cwd().parents):
        ini = folder / "settings.ini"
        if ini.is_file() and "lib_name = {name}" in ini.read_text("utf-8", "ignore").splitlines():
            break
    else:
        raise RuntimeError(
            "The package {name} is missing: open this notebook inside a copy of the project, "
            'or run `pip install ".[dev]"` in one.'
        )
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", f"{{folder}}[dev]"], check=True)
    importlib.invalidate_caches()"""

FROM_ADDRESS = """\
#| hide
# Where the package is missing (Colab, Kaggle, a cluster), install it.
import importlib.util
import subprocess
import sys

if any(importlib.util.find_spec(package) is None for package in ("{name}", "fastcore")):
    source = "{name}[dev] @ git+{url}"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", source], check=True)
    importlib.invalidate_caches()"""


def install_cell():
    "The cell that installs the package where it is missing, as on a bare GPU runtime."
    cell = FROM_ADDRESS if address() else FROM_CHECKOUT
    return cell.format(name=settings()["lib_name"], url=address())


def stamped(text):
    "A notebook's JSON text with the install cell right after its title."
    nb = json.loads(text)
    cells = [c for c in nb["cells"] if c.get("id") != CELL_ID]
    cell = {
        "cell_type": "code",
        "execution_count": None,
        "id": CELL_ID,
        "metadata": {},
        "outputs": [],
        "source": install_cell().splitlines(keepends=True),
    }
    cells.insert(1, cell)
    return json.dumps({**nb, "cells": cells}, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def stamped_readme(text):
    "README's install line, between its two marks."
    name = settings()["lib_name"]
    command = f'```sh\npip install "{name} @ git+{address()}"\n```'
    if address() is None:
        why = "The project has no public address yet: `git_url` in `settings.ini` is a placeholder."
        command = f"{why} In a copy of the project:\n\n```sh\npip install .\n```"
    return re.sub(
        r"(<!-- install -->\n).*?(\n<!-- /install -->)",
        lambda m: m[1] + command + m[2],
        text,
        flags=re.S,
    )


def stamped_citation(text):
    "CITATION.cff with the version, and with the address where there is one."
    text = re.sub(r"^repository-code: .*\n", "", text, flags=re.M)
    lines = f"version: {settings()['version']}\n"
    if address():
        lines += f"repository-code: {address()}\n"
    return re.sub(r"^version: .*\n", lines, text, flags=re.M)


def out_of_step():
    "Files that differ from what settings.ini says, as (path, new text)."
    makers = [(path, stamped) for path in notebooks()]
    makers += [(ROOT / "README.md", stamped_readme), (ROOT / "CITATION.cff", stamped_citation)]
    out = []
    for path, make in makers:
        before = path.read_text(encoding="utf-8")
        if (after := make(before)) != before:
            out.append((path, after))
    return out


def main():
    todo, check = out_of_step(), "--check" in sys.argv
    for path, text in todo:
        print(("out of step: " if check else "stamped ") + str(path.relative_to(ROOT)))
        if not check:
            path.write_text(text, encoding="utf-8")
    if check and todo:
        raise SystemExit("run: make sync")


if __name__ == "__main__":
    main()
