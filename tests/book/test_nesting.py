"""A module that moves into a folder of the package stays under the four safeguards.

They are execution, the check, the wheel, and the previews."""

import shutil
import subprocess
import sys
import zipfile

import nbformat
import pytest

import book
from book import check, facts, shown

CODE = "#| default_exp {module}", '#| export\ndef half(x):\n    "A half."\n    return x / 2'


def write_chapter(root, module):
    nb = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Trial"),
            *(nbformat.v4.new_code_cell(c.format(module=module)) for c in CODE),
        ]
    )
    nbformat.write(nb, root / "nbs" / "10_trial.ipynb")


@pytest.fixture
def project(tmp_path, monkeypatch):
    "A project of one chapter, exported as carat/store.py and then moved to carat/data/store.py."
    for name in (
        "settings.ini",
        "setup.py",
        "README.md",
        "pyproject.toml",
        "MANIFEST.in",
        "requirements.lock",
    ):
        shutil.copy(book.ROOT / name, tmp_path)
    for folder in ("nbs", "results", "bench/studies"):
        (tmp_path / folder).mkdir(parents=True)
    write_chapter(tmp_path, "store")
    check.tool("nbdev_export", tmp_path)
    write_chapter(tmp_path, "data.store")
    check.tool("nbdev_export", tmp_path)
    for module in (book, check):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    for module in (check, shown):
        monkeypatch.setattr(module, "notebooks", lambda: [tmp_path / "nbs" / "10_trial.ipynb"])
    monkeypatch.setattr(shown, "ROOT", tmp_path)
    monkeypatch.setattr(check.stamp, "out_of_step", lambda: [])
    return tmp_path


def test_a_change_in_a_folder_runs_the_notebooks_again(project):
    before = book.surroundings()
    with open(project / "carat" / "data" / "store.py", "a") as f:
        f.write("x = 1\n")
    assert book.surroundings() != before


def test_the_check_sees_a_changed_module_and_a_stale_one(project):
    assert "carat/store.py differs from what the notebooks export" in check.problems()
    check.prune()
    assert (
        not (project / "carat" / "store.py").exists()
        and (project / "carat" / "data" / "store.py").exists()
    )
    assert not [p for p in check.problems() if p.startswith("carat/")]
    with open(project / "carat" / "data" / "store.py", "a") as f:
        f.write("x = 1\n")
    assert "carat/data/store.py differs from what the notebooks export" in check.problems()


def test_the_wheel_holds_it(project):
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(project / "dist"),
            str(project),
        ],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    with zipfile.ZipFile(next((project / "dist").glob("*.whl"))) as wheel:
        assert {"carat/__init__.py", "carat/data/__init__.py", "carat/data/store.py"} <= set(
            wheel.namelist()
        )


def test_its_names_are_found_for_reference_and_previews(project):
    assert book.module_file("carat.data.store").is_file()
    assert facts.public_names("carat.data.store") == ["half"]
    chapter = facts.read_chapter(project / "nbs" / "10_trial.ipynb")
    assert chapter.module == "carat.data.store" and list(facts.definitions_of(chapter)) == ["half"]
