"""Executes the notebooks of the book, two at a time, and keeps the results in _build/executed.

A notebook runs again when its code, the package, the recorded results, the lock or the data that
CARAT_DATA names have changed."""

import asyncio
import os
import re
import sys
import time
from importlib.metadata import version

import nbformat
from nbclient import NotebookClient

from . import (
    EXECUTED,
    ROOT,
    code_digest,
    digest,
    environment,
    is_run,
    notebooks,
    read_notebook,
    surroundings,
)
from .kernels import use_forked_kernels

WORKERS = int(os.environ.get("CARAT_BOOK_WORKERS", 2))
TTY = sys.stdout.isatty()


class Progress:
    """Says which notebook is at which cell.

    On a terminal one line that rewrites itself, elsewhere one line per notebook."""

    def __init__(self, total):
        self.total, self.done, self.running, self.start = total, 0, {}, time.time()

    def draw(self):
        if not TTY:
            return
        now = " · ".join(f"{name} {i}/{n}" for name, (i, n) in self.running.items())
        seconds = time.time() - self.start
        line = f"{self.done}/{self.total} notebooks, {seconds:.0f} s · {now}"
        print(f"\r\x1b[K{line[:140]}", end="", flush=True)

    def say(self, line):
        print(("\r\x1b[K" if TTY else "") + line, flush=True)
        self.draw()


def client_of(nb, folder, at, failed):
    "What runs the cells of a notebook in a kernel of its own."

    def error(cell, cell_index, execute_reply):
        failed.append(f"cell {cell_index}:\n\n{cell.source}\n")

    return NotebookClient(
        nb,
        timeout=None,
        startup_timeout=600,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=40"],
        resources={"metadata": {"path": str(folder)}},
        skip_cells_with_tag="skip-execution",
        on_cell_start=at,
        on_cell_error=error,
    )


def keep(nb, name, **about):
    "Write an executed notebook, whole or not at all."
    data = "CARAT_DATA" if os.environ.get("CARAT_DATA", "").strip() else "embedded synthetic"
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    nb.metadata.carat = dict(when=when, data=data, **about)
    EXECUTED.mkdir(parents=True, exist_ok=True)
    beside = EXECUTED / f".{name}.{os.getpid()}"
    nbformat.write(nb, beside)
    beside.replace(EXECUTED / name)


async def execute(path, key, progress, gate, around):
    "Run one notebook; returns None, or a text that names the notebook and the cell that failed."
    async with gate:
        nb, name, failed = read_notebook(path), path.stem, []
        code, n, start = code_digest(nb), len(nb.cells), time.time()
        for cell in nb.cells:
            if cell.cell_type == "code" and not is_run(cell):
                cell.metadata.tags = [*cell.metadata.get("tags", []), "skip-execution"]

        def at(cell, cell_index, **_):
            progress.running[name] = cell_index + 1, n
            progress.draw()

        at(None, 0)
        if not TTY:
            progress.say(f"         {name} ...")
        try:
            await client_of(nb, path.parent, at, failed).async_execute()
        except Exception as e:
            del progress.running[name]
            progress.say(f"FAILED   {name}")
            where = f"nbs/{name}.ipynb failed" + (f" in {failed[0]}" if failed else "")
            return f"{where}\n" + re.sub(r"\x1b\[[0-9;]*m", "", str(e))[-4000:]
        seconds = round(time.time() - start, 1)
        keep(nb, path.name, key=key, code=code, seconds=seconds, environment=around)
        del progress.running[name]
        progress.done += 1
        progress.say(f"{progress.done:3d}/{progress.total:<3d}  {name}  {seconds:.1f} s")


def stale():
    "Notebooks whose results are missing or out of date, as (path, key)."
    around, out = surroundings(), []
    for path in notebooks():
        key, copy = digest(code_digest(read_notebook(path)), around), EXECUTED / path.name
        if not copy.exists() or read_notebook(copy).metadata.get("carat", {}).get("key") != key:
            out.append((path, key))
    return out


def seconds_before(path):
    "How long a notebook took the last time; a guess where that is not known."
    copy = EXECUTED / path.name
    known = copy.exists() and read_notebook(copy).metadata.get("carat", {}).get("seconds")
    return known or (100 if path.stem.startswith("3") else 10)  # those chapters train


def main():
    "Bring all results up to date; exits with a message that names the notebook and cell that fail."
    if not (todo := stale()):
        return
    os.environ.pop("IN_TEST", None)  # set, it would take the figures' forms for pages away
    os.environ.update(
        OMP_NUM_THREADS="1",
        MKL_NUM_THREADS="1",
        PYTHONHASHSEED="0",
        JUPYTER_PREFER_ENV_PATH="1",
        PYDEVD_DISABLE_FILE_VALIDATION="1",
    )
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    )
    if len(todo) > 1:
        use_forked_kernels()
    todo.sort(key=lambda item: -seconds_before(item[0]))
    progress, gate, around = Progress(len(todo)), asyncio.Semaphore(WORKERS), environment()
    torch, total = version("torch"), len(notebooks())
    print(
        f"executing {len(todo)} of {total} notebooks, {WORKERS} at a time (torch {torch})",
        flush=True,
    )

    async def all_of_them():
        return await asyncio.gather(
            *(execute(path, key, progress, gate, around) for path, key in todo)
        )

    if wrong := [w for w in asyncio.run(all_of_them()) if w]:
        raise SystemExit("\n" + "\n\n".join(wrong))
    progress.running.clear()


if __name__ == "__main__":
    main()
