"The worked example of CONTRIBUTING.md does what the page says: one module, and no other edit."

import re
import shutil

import pytest
from commands import Commands

from book import ROOT


@pytest.fixture(scope="module")
def carat(tmp_path_factory):
    "The command of a copy of the package, with the example in it as carat/systems/means.py."
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "carat", folder / "carat", ignore=shutil.ignore_patterns("__pycache__"))
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (folder / "carat" / "systems" / "means.py").write_text(example, encoding="utf-8")

    with Commands(folder) as command:
        yield command


def test_help_has_the_new_system_and_its_option(carat):
    status, text = carat("train --kind means --help")
    assert status == 0
    assert "aligned" in text and "means" in text
    option = text[text.index("--model.dropout") :]
    assert "share of the mean features that are dropped in training" in option


def test_it_trains_evaluates_and_predicts(carat):
    for command, said in (
        ("prepare twin --out clips.h5 --size 90", ""),
        ("train clips.h5 --kind means --out run --epochs 2 --device cpu --quiet", ""),
        ("evaluate run clips.h5 --split valid", "F1"),
        ("predict run clips.h5 --out scores.csv", "18 samples"),
    ):
        status, text = carat(command)
        assert status == 0 and said in text, text
