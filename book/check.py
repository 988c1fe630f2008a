"""Checks that package, notebooks and install cells are in step.

What `make sync` would change is an error, and so is a directive of a cell that leads nowhere.
With `--prune`, first deletes stale modules."""

import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import ROOT, notebooks, package_files, shown, stamp


def tool(name, cwd):
    "Run one of nbdev's commands in a folder."
    done = subprocess.run(
        [str(Path(sys.executable).parent / name)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stdout}{done.stderr}")


def differing(a, b, pattern):
    "The files that differ between two folders, or exist in one of them only."
    found = [(f, folder) for folder in (a, b) for f in folder.rglob(pattern)]
    names = {f.relative_to(folder).as_posix() for f, folder in found if f.name != "_modidx.py"}
    return sorted(
        n
        for n in names
        if not ((a / n).exists() and (b / n).exists() and filecmp.cmp(a / n, b / n, shallow=False))
    )


def exported(to):
    "Export the notebooks into a folder, beside what is written by hand; returns the package there."
    shutil.copy(ROOT / "settings.ini", to)
    shutil.copytree(
        ROOT / "nbs", to / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "_*")
    )
    for path in (ROOT / "carat").rglob("__init__.py"):
        (to / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to / path.relative_to(ROOT))
    tool("nbdev_export", to)
    return to / "carat"


def problems():
    "A list of lines, empty where all is in step."
    notebooks()  # says so if _toc.yml names pages that do not exist
    with tempfile.TemporaryDirectory() as folder:
        temp = Path(folder)
        out = [
            f"carat/{n} differs from what the notebooks export"
            for n in differing(exported(temp), ROOT / "carat", "*.py")
        ]
        tool("nbdev_clean", temp)
        out += [f"nbs/{n} is not clean" for n in differing(temp / "nbs", ROOT / "nbs", "*.ipynb")]
    out += shown.problems()
    return out + [
        f"{p.relative_to(ROOT)} is not in step with settings.ini" for p, _ in stamp.out_of_step()
    ]


def prune():
    "Delete the modules that no notebook exports any more, and folders that are empty without them."
    with tempfile.TemporaryDirectory() as folder:
        package = exported(Path(folder))
        stale = [
            path
            for path in package_files(ROOT)
            if not (package / path.relative_to(ROOT / "carat")).exists()
        ]
    for path in stale:
        path.unlink()
        print(f"deleted {path.relative_to(ROOT)}: no notebook exports it")
    for path in sorted((ROOT / "carat").rglob("*"), reverse=True):
        if path.is_dir() and not any(path.rglob("*.py")):
            shutil.rmtree(path)
    if stale:
        tool("nbdev_export", ROOT)  # its index still names them


def main():
    if "--prune" in sys.argv:
        prune()
    if found := problems():
        raise SystemExit("\n".join(found) + "\n`make sync` mends what is out of step")
    print("package, notebooks and install cells are in step")


if __name__ == "__main__":
    main()
