"The worked example of CONTRIBUTING.md does what the page says: one module, and no other edit."

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from book import ROOT

# commands one after another, in one process, until one fails
MANY = """
import json, sys
from carat.cli import main
sys.exit(next(filter(None, (main(argv) for argv in json.loads(sys.argv[1]))), 0))
"""


@pytest.fixture(scope="module")
def carat(tmp_path_factory):
    "The command of a copy of the package, with the example in it as carat/systems/means.py."
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "carat", folder / "carat", ignore=shutil.ignore_patterns("__pycache__"))
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (folder / "carat" / "systems" / "means.py").write_text(example, encoding="utf-8")

    def run(*commands):
        done = subprocess.run(
            [sys.executable, "-c", MANY, json.dumps(commands)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_help_has_the_new_system_and_its_option(carat):
    text = carat(["train", "--kind", "means", "--help"])
    assert "aligned" in text and "means" in text
    option = text[text.index("--model.dropout") :]
    assert "share of the mean features that are dropped in training" in option


def test_it_trains_evaluates_and_predicts(carat):
    how = ("--epochs", "2", "--device", "cpu", "--quiet")
    said = carat(
        ["prepare", "twin", "--out", "clips.h5", "--size", "90"],
        ["train", "clips.h5", "--kind", "means", "--out", "run", *how],
        ["evaluate", "run", "clips.h5", "--split", "valid"],
        ["predict", "run", "clips.h5", "--out", "scores.csv"],
    )
    assert "F1" in said and "18 samples" in said
