"""Notebooks as tests where nbdev is not installed: each runs from top to bottom by itself.

    python bench/notebooks.py --jobs 8 --json notebooks.json     # all
    python bench/notebooks.py --names 21_encoder 33_training

Needs fastcore. Where IPython is missing, what chapters display is not drawn. The chapters choose
the device as a reader's session does: CUDA where there is one. The report says which of them
computed there; the others are about files, figures and equations on a CPU.
"""

import argparse
import importlib.util
import json
import linecache
import os
import subprocess
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

NBS = Path(__file__).resolve().parent.parent / "nbs"
MARK = "notebook ended: "


def cells(path):
    "The code of a notebook, a string per cell, without cells that are not to run."
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and not source.startswith("#| eval: false"):
            yield source


def without_ipython():
    "A stand-in for the one module of IPython that chapters use; Matplotlib then asks for no other."
    display = sys.modules["IPython.display"] = types.ModuleType("IPython.display")
    display.Markdown = display.HTML = display.SVG = str
    display.display = print


def run(path):
    "Run one notebook in this process, as its main module."
    if importlib.util.find_spec("IPython") is None:
        without_ipython()
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    os.chdir(path.parent)
    sys.path[0] = str(path.parent)
    for number, source in enumerate(cells(path)):
        name = f"<{path.stem}, code cell {number}>"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        exec(compile(source, name, "exec"), main.__dict__)
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated()
    print(f"\n{MARK}{int(bool(on_gpu))}", flush=True)


def test(path, most):
    "Run one notebook in a process of its own; how that went."
    start, command = time.perf_counter(), [sys.executable, __file__, "--one", str(path)]
    how = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    try:
        done = subprocess.run(command, timeout=most, **how)
        ok, said = done.returncode == 0 and MARK in done.stdout, done.stdout
    except subprocess.TimeoutExpired:
        ok, said = False, f"it took more than {most:.0f} s"
    row = dict(name=path.stem, ok=ok, seconds=time.perf_counter() - start)
    if ok:
        return row | dict(on_gpu=said.split(MARK)[-1].strip() == "1")
    return row | dict(error=said.strip()[-2000:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--names", nargs="+", help="chapters without suffix; all where not given")
    parser.add_argument("--jobs", type=int, default=1, help="notebooks at a time")
    parser.add_argument("--most", type=float, default=200, help="seconds of one notebook")
    parser.add_argument("--json", type=Path, help="keep the report here")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return run(args.one.resolve())
    paths = [NBS / f"{name}.ipynb" for name in args.names or []] or sorted(NBS.glob("*.ipynb"))
    rows = []
    with ThreadPoolExecutor(args.jobs) as pool:
        for done in as_completed([pool.submit(test, path, args.most) for path in paths]):
            row = done.result()
            rows.append(row)
            said = "passed" if row["ok"] else f"FAILED\n{row['error']}\n"
            print(f"{row['name']}: {said}, {row['seconds']:.0f} s", flush=True)
            if args.json:
                args.json.write_text(json.dumps(dict(notebooks=rows), indent=1) + "\n")
    failed = [row["name"] for row in rows if not row["ok"]]
    used = sum(row.get("on_gpu", False) for row in rows)
    print(f"{len(rows) - len(failed)} of {len(paths)} notebooks passed; {used} computed on the GPU")
    if failed:
        sys.exit(f"failed: {', '.join(sorted(failed))}")


if __name__ == "__main__":
    main()
