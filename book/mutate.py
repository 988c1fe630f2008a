"""Runs the cells of a chapter on mutants: `python -m book.mutate 24_max_pooling`.

`book/mutants.py` starts this in a process of its own, writes the keys of the mutants to it and
reads the results, both as JSON. The chapter is executed once. Where it comes to a cell that has
mutants, it forks a process for each of them, which goes on with the mistake in that cell. Where
cells import the code of a mutant, the process is forked before anything is imported, and the
mistake is put into the module, too. A cell that fails goes on with its next statement, so that
later cells find what they need."""

import argparse
import ast
import importlib.util
import json
import linecache
import os
import resource
import signal
import sys
import tempfile
import types
from importlib import import_module
from pathlib import Path

from . import ROOT, module_file
from .chapters import parsed
from .mutants import module_of, modules_of, place, plan, runs_for
from .needed import bound

SECONDS = 60  # that a cell may take before it counts as hung
# what may be imported before mutants are put into modules, because it imports none of these
BEFOREHAND = (
    "matplotlib.pyplot",
    "sklearn.metrics",
    "torch._dynamo",  # which the first call of an operator imports
    "carat.plots",
    "carat.data.twins.mosei",
)


class Hung(Exception):
    "A cell takes too long."


def hung(signum, frame):
    raise Hung


def quiet(fd):
    "Let a file descriptor write nowhere."
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, fd)


class Notebook:
    "The names of a notebook, and the cells that failed so far: {id: how}."

    def __init__(self):
        self.module = types.ModuleType("notebook")
        self.names, self.failed, self.lost = vars(self.module), {}, set()
        self.names["display"] = lambda *args, **kw: None
        sys.modules["notebook"] = self.module

    def run(self, cell, source=None):
        "Run a cell, statement by statement, all of them whatever fails."
        source = cell.source if source is None else source
        name = f"<cell {cell.id}>"
        lines = source.splitlines(keepends=True)
        linecache.cache[name] = len(source), None, lines, name
        signal.alarm(SECONDS)
        for statement in parsed(source).body:
            code = compile(ast.Module([statement], []), name, "exec")
            try:
                exec(code, self.names)
            except Exception as e:
                self.take(cell, statement, e)
        signal.alarm(0)

    def take(self, cell, statement, error):
        "Remember a failure, unless it is only the want of a name that another one left unbound."
        follows = isinstance(error, NameError) and error.name in self.lost
        self.lost |= bound(statement) - self.names.keys()
        if not follows:
            self.failed.setdefault(cell.id, type(error).__name__)


def install(mutant):
    "Import a module with a mistake in it, so that whoever imports it later gets this one."
    name = module_of(mutant)
    spec = importlib.util.find_spec(name)
    assert spec is not None and name not in sys.modules, name
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    parent, _, short = name.rpartition(".")
    setattr(import_module(parent), short, module)
    source = mutant.applied(module_file(name).read_text(encoding="utf-8"))
    exec(compile(source, spec.origin or name, "exec"), vars(module))


class Children:
    "Forked processes, a few at a time, and what they write."

    def __init__(self, folder, jobs):
        self.folder, self.jobs, self.running, self.results = Path(folder), jobs, {}, {}

    def fork(self, key, body):
        "Run `body()` in a process of its own; what it returns is the result of `key`."
        while len(self.running) >= self.jobs:
            self.wait()
        path = self.folder / str(len(self.results) + len(self.running))
        sys.stdout.flush()
        if pid := os.fork():
            self.running[pid] = key, path
            return
        status = 1
        try:
            quiet(1)
            resource.setrlimit(resource.RLIMIT_CPU, (900, 900))
            path.write_text(json.dumps(body()))
            status = 0
        finally:
            os._exit(status)

    def wait(self):
        pid, status = os.wait()
        key, path = self.running.pop(pid)
        if status:
            raise RuntimeError(f"the process of {key} ended with status {status}")
        self.results[key] = json.loads(path.read_text())

    def all(self):
        while self.running:
            self.wait()
        return self.results


def seeded():
    "A notebook whose random numbers are the same each time."
    import numpy as np
    import torch

    torch.manual_seed(0)
    np.random.seed(0)
    return Notebook()


class Trial:
    "A chapter, the cells that run, and its mutants with the cells that should notice them."

    def __init__(self, stem, keys, everything):
        self.stem, self.everything = stem, everything
        self.plan = [(m, cells) for m, cells in plan(stem) if m.key in keys]
        self.cells = runs_for(stem, self.plan, everything)

    def needed_for(self, mutant, noticing):
        return runs_for(self.stem, [(mutant, noticing)], self.everything)

    def unchanged(self):
        "How the cells fail that fail without a mutant."
        notebook = seeded()
        for cell in self.cells:
            notebook.run(cell)
        return notebook.failed

    def go_on(self, notebook, cells, mutant, noticing):
        "Run the cells with a mutant; returns those that notice."
        changed = place(mutant) if mutant.chapter == self.stem else None
        for cell in cells:
            notebook.run(cell, mutant.applied(cell.source) if cell is changed else None)
        return {c.id: notebook.failed[c.id] for c in noticing if c.id in notebook.failed}

    def from_the_start(self, mutant, noticing):
        "Run the chapter with a mutant in a module that it imports."
        install(mutant)
        return self.go_on(seeded(), self.needed_for(mutant, noticing), mutant, noticing)

    def imports(self, mutant, noticing):
        "Whether cells import the code of a mutant, be it another chapter's or their own."
        return module_of(mutant) in modules_of(self.needed_for(mutant, noticing))

    def fork_all(self, children):
        here = []
        for mutant, noticing in self.plan:
            if self.imports(mutant, noticing):
                children.fork(mutant.key, lambda m=mutant, n=noticing: self.from_the_start(m, n))
            else:
                here.append((mutant, place(mutant), noticing))
        notebook = seeded()
        last = max((cell.index for _, cell, _ in here), default=-1)
        for cell in (c for c in self.cells if c.index <= last):
            for mutant, changed, noticing in here:
                if changed is cell:
                    rest = self.needed_for(mutant, noticing)
                    rest = [c for c in rest if c.index >= cell.index]
                    children.fork(
                        mutant.key,
                        lambda m=mutant, n=noticing, r=rest: self.go_on(notebook, r, m, n),
                    )
            notebook.run(cell)


def prepare():
    os.environ.update(CUDA_VISIBLE_DEVICES="", MPLBACKEND="agg", OMP_NUM_THREADS="1")
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT / "nbs")
    signal.signal(signal.SIGALRM, hung)
    for name in BEFOREHAND:
        import_module(name)
    import torch

    torch.set_num_threads(1)


def main():
    parser = argparse.ArgumentParser(prog="python -m book.mutate")
    parser.add_argument("chapter")
    parser.add_argument("--jobs", type=int, default=1)
    given, keys = parser.parse_args(), json.load(sys.stdin)
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        for everything in (False, True):  # all cells, where too few do not do
            children = Children(folder, given.jobs)
            trial = Trial(given.chapter, keys, everything)
            children.fork("unchanged", trial.unchanged)
            if not (failed := children.all().pop("unchanged")):
                break
            print(f"{given.chapter}: {failed}", file=sys.stderr)
        else:
            raise SystemExit(f"nbs/{given.chapter}.ipynb fails without a mutant: {failed}")
        trial.fork_all(children)
        results = children.all()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
