"""The command line in processes of its own: command after command, or one that a test may stop.

The processes are those of studies, which on Linux need not import PyTorch anew. They import this
module before their folder is on the path, so it must not import the package."""

import contextlib
import io
import os
import runpy
import select
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest

from book.kernels import Process


class Commands:
    "Commands given as lines, in a folder that is first on the path."

    def __init__(self, folder):
        from carat.study.runner import processes

        context = processes()
        self.pipe, its_end = context.Pipe()
        environ = {**os.environ, "COLUMNS": "200"}
        given = str(folder), environ, its_end
        self.process = context.Process(target=_command_after_command, args=given)
        self.process.start()
        its_end.close()

    def __call__(self, line):
        "Status and what it says."
        return self._asked(line.split())

    def python(self, code):
        "The same of code that runs there."
        return self._asked(code)

    def _asked(self, what):
        self.pipe.send(what)
        try:
            return self.pipe.recv()
        except EOFError:
            raise AssertionError(f"the process ended during: {what}") from None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.pipe.close()
        self.process.join()


def _command_after_command(folder, environ, pipe):
    os.chdir(folder)
    sys.path.insert(0, folder)
    os.environ.update(environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    from carat.cli import main  # the copy in that folder, where it has one

    while True:
        try:
            asked = pipe.recv()
        except EOFError:
            return
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                status = main(asked) if isinstance(asked, list) else exec(asked, {})
            except SystemExit as stop:
                status = stop.code
            except Exception:
                status = traceback.format_exc()
        pipe.send((status or 0, said.getvalue()))


class Command(Process):
    "A command as `python -m carat.cli` runs it, in a process group of its own."

    def __init__(self, *argv):
        from carat.study.runner import processes

        context = processes()
        self.said, its_end = context.Pipe(duplex=False)
        given = [str(a) for a in argv], dict(os.environ), its_end
        super().__init__(context.Process(target=_command, args=given))
        its_end.close()

    @property
    def returncode(self):
        return self.poll()

    def communicate(self, timeout):
        "What it and the processes that it started say, until the last of them has ended."
        said, end, pipe = [], time.monotonic() + timeout, self.said.fileno()
        while not said or said[-1]:
            if not select.select([pipe], [], [], max(0, end - time.monotonic()))[0]:
                raise subprocess.TimeoutExpired("carat", timeout)
            said.append(os.read(pipe, 1 << 16))
        self.wait(timeout)
        return b"".join(said).decode()


def _command(argv, environ, pipe):
    os.setsid()
    os.environ.clear()
    os.environ.update(environ)
    for stream in (1, 2):
        os.dup2(pipe.fileno(), stream)
    pipe.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    sys.argv = ["carat", *argv]
    runpy.run_module("carat.cli", run_name="__main__", alter_sys=True)


def holders(path):
    "The processes that have a file or a folder open; none of them is this one."
    found = []
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            if str(path) in [os.readlink(fd) for fd in folder.iterdir()]:
                found.append(int(folder.parent.name))
    return [pid for pid in found if pid != os.getpid()]


has_proc = os.path.isdir("/proc/self/fd")
needs_proc = pytest.mark.skipif(not has_proc, reason="needs /proc to find a worker")
