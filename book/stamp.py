"""Puts what depends on the project's address and version into notebooks, README and CITATION.cff, from settings.ini.

`python -m book.stamp` refreshes them; with `--check` it only says which are out of step, and exits 1 if any are."""

import json
import re
import sys

from . import ROOT, notebooks, settings

CELL_ID = "install"


def install_cell():
    "The lines of the cell that installs the package where it is missing, as on a bare GPU runtime."
    cfg = settings()
    name = cfg["lib_name"]
    return f"""#| hide
# Where the package is missing (Colab, Kaggle, a cluster) this installs it.
import importlib.util
import subprocess
import sys

if any(importlib.util.find_spec(name) is None for name in ("{name}", "fastcore")):
    package = "{name}[dev] @ git+{cfg["git_url"]}"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", package], check=True)""".splitlines(
        keepends=True
    )


def stamped(text):
    "A notebook's JSON text with the install cell right after its title."
    nb = json.loads(text)
    cells = [c for c in nb["cells"] if c.get("id") != CELL_ID]
    cells.insert(
        1,
        {
            "cell_type": "code",
            "execution_count": None,
            "id": CELL_ID,
            "metadata": {},
            "outputs": [],
            "source": install_cell(),
        },
    )
    return json.dumps({**nb, "cells": cells}, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def stamped_readme(text):
    "README's install line, between its two marks."
    line = f'```sh\npip install "{settings()["lib_name"]} @ git+{settings()["git_url"]}"\n```'
    return re.sub(
        r"(<!-- install -->\n).*?(\n<!-- /install -->)",
        lambda m: m[1] + line + m[2],
        text,
        flags=re.S,
    )


def stamped_citation(text):
    "CITATION.cff with version and address."
    for key, value in (
        ("version", settings()["version"]),
        ("repository-code", settings()["git_url"]),
    ):
        text = re.sub(rf"^{key}: .*$", f"{key}: {value}", text, flags=re.M)
    return text


def out_of_step():
    "Files that differ from what settings.ini says, as (path, new text)."
    todo = [(p, stamped(p.read_text(encoding="utf-8"))) for p in notebooks()]
    todo += [
        (p, make(p.read_text(encoding="utf-8")))
        for p, make in (
            (ROOT / "README.md", stamped_readme),
            (ROOT / "CITATION.cff", stamped_citation),
        )
    ]
    return [(p, text) for p, text in todo if p.read_text(encoding="utf-8") != text]


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
