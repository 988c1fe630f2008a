"Checks that package, notebooks and install cells are in step: what `make sync` would change is an error."
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import ROOT, notebooks, stamp


def tool(name, cwd):
    "Run one of nbdev's commands in a folder."
    done = subprocess.run([str(Path(sys.executable).parent/name)], cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": ""}, stdin=subprocess.DEVNULL)
    if done.returncode: raise SystemExit(f"{name} failed:\n{done.stdout}{done.stderr}")


def differing(a, b, pattern):
    "Names of the files that differ between two folders, or exist in one of them only."
    names = {f.name for folder in (a, b) for f in folder.glob(pattern)}
    return sorted(n for n in names if not ((a/n).exists() and (b/n).exists() and filecmp.cmp(a/n, b/n, shallow=False)))


def problems():
    "A list of lines, empty where all is in step."
    notebooks() # says so if _toc.yml names pages that do not exist
    with tempfile.TemporaryDirectory() as folder:
        temp = Path(folder)
        shutil.copy(ROOT/"settings.ini", temp)
        shutil.copytree(ROOT/"nbs", temp/"nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "_*"))
        (temp/"carat").mkdir()
        tool("nbdev_export", temp)
        out = [f"carat/{n} differs from what the notebooks export" for n in differing(temp/"carat", ROOT/"carat", "*.py")]
        tool("nbdev_clean", temp)
        out += [f"nbs/{n} is not clean" for n in differing(temp/"nbs", ROOT/"nbs", "*.ipynb")]
    return out + [f"{p.relative_to(ROOT)} is not in step with settings.ini" for p, _ in stamp.out_of_step()]


def main():
    if found := problems(): raise SystemExit("\n".join(found) + "\nrun: make sync")
    print("package, notebooks and install cells are in step")


if __name__ == "__main__": main()
