"The command line in one process of its own, with a path of its own: command after command."

import json
import os
import subprocess
import sys

LOOP = """
import contextlib, io, json, sys
from carat.cli import main

for line in sys.stdin:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            status = main(json.loads(line))
        except SystemExit as stop:
            status = stop.code
    print(json.dumps([status or 0, said.getvalue()]), flush=True)
"""


class Commands:
    "Commands given as lines, in a folder that is first on the path."

    def __init__(self, folder):
        path = os.pathsep.join([str(folder), *filter(None, sys.path)])
        env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        pipe = subprocess.PIPE
        how = dict(cwd=folder, env=env, stdin=pipe, stdout=pipe, text=True)
        self.process = subprocess.Popen([sys.executable, "-c", LOOP], **how)

    def __call__(self, line):
        "Status and what it says."
        self.process.stdin.write(json.dumps(line.split()) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the process ended during: carat {line}"
        return tuple(json.loads(answer))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.communicate()
