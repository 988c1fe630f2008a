"""The sdist and the wheel: what they hold, and that the wheel works away from the project.

Slow, so `make test` leaves them out and `.ci/run` runs them."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from book import ROOT, package_files, stamp

pytestmark = pytest.mark.slow

NOT_SOURCE = (".git", ".venv", "_build", "_proc", "_docs", "build", "dist", "runs", "*.egg-info")
CACHES = ("__pycache__", "*.pyc", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints")

TINY = """
    --epochs 1 --batch-size 32 --device cpu --quiet --model.layers 1 1 1 --model.d 16 --model.ff 16
    --model.heads 2 --model.d-z 8 --model.d-h 8 --model.queue 256
""".split()

IMPORTS = """
import importlib, pkgutil, carat
modules = pkgutil.walk_packages(carat.__path__, "carat.")
print(carat.__file__, *(importlib.import_module(m.name).__name__ for m in modules), sep="\\n")
"""

HELP = """
import sys
from carat.cli import main
try:
    main(["--help"])
finally:
    print(*sys.modules, file=sys.stderr)
"""

NOTEBOOK = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        shell.run_cell("".join(cell["source"])).raise_error()
"""


# pip without a network: nothing is fetched, and the tools that build are those that are there
OFFLINE = dict(PIP_NO_INDEX="1", PIP_NO_DEPS="1", PIP_NO_BUILD_ISOLATION="0")


def run(*command, cwd, error=False, status=0):
    "A command's output, or its error output. The environment must not lead to the checkout."
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "CARAT_DATA")} | OFFLINE
    done = subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env={**env, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stderr if error else done.stdout


def environment(folder, *options):
    """The Python of a fresh environment with the dependencies of the running one, torch included.

    They are reached through a .pth file, whose folders are searched for modules but not for
    further .pth files, so that the editable installation of the checkout stays out of sight."""
    run(sys.executable, "-m", "venv", *options, folder / "env", cwd=folder)
    python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    outside = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(site.strip()) / "dependencies.pth").write_text("\n".join(sorted(outside)) + "\n")
    return python


def copy_of_the_project(folder):
    "Without what is built, such as the egg-info of older builds, which would be read."
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_SOURCE, *CACHES))
    (folder / "carat" / "_modidx.py").touch()
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    "A folder with the sdist and the wheel that was built from it."
    folder = tmp_path_factory.mktemp("built")
    source = copy_of_the_project(folder / "source")
    build = ("-m", "build", "--no-isolation", "--outdir", folder / "dist")
    run(sys.executable, *build, source, cwd=folder)
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(built):
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    "The Python of a fresh environment that holds the wheel."
    folder = tmp_path_factory.mktemp("fresh")
    python = environment(folder, "--without-pip")
    install = ("install", "--quiet", "--no-index", "--no-deps", "--ignore-installed", wheel)
    run(sys.executable, "-m", "pip", "--python", python, *install, cwd=folder)
    return python


@pytest.fixture(scope="module")
def carat(python):
    return python.with_name("carat" + python.suffix)


def test_the_sdist_holds_what_git_holds(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {m.name.partition("/")[2] for m in sdist.getmembers() if m.isfile()}
    made = {n for n in names if n in ("PKG-INFO", "setup.cfg") or ".egg-info/" in n}
    assert {"PKG-INFO", "nbs/00_start.ipynb", "tests/test_packaging.py"} <= names
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        return
    listed = run("git", "ls-files", "-z", "-c", "-o", "--exclude-standard", cwd=ROOT)
    held = {n for n in listed.split("\0") if n and (ROOT / n).exists()}
    assert names - made == held


def test_the_wheel_holds_the_package_the_recorded_results_and_the_studies(wheel):
    with zipfile.ZipFile(wheel) as z:
        names = {n for n in z.namelist() if ".dist-info/" not in n}
    modules = {p.relative_to(ROOT).as_posix() for p in package_files()}
    results = {f"carat/recorded/{p.name}" for p in (ROOT / "results").glob("*.json")}
    studies = {f"carat/declared/{p.name}" for p in (ROOT / "bench" / "studies").glob("*.toml")}
    assert names == modules | results | studies | {"carat/py.typed"}


def test_every_module_imports(python, tmp_path):
    home, *modules = run(python, "-c", IMPORTS, cwd=tmp_path).split()
    assert Path(home).is_relative_to(python.parent.parent)
    files = [p.relative_to(ROOT).with_suffix("") for p in package_files()]
    expected = {".".join(f.parts).removesuffix(".__init__") for f in files} - {"carat"}
    assert set(modules) == expected


def test_the_requirements_are_met(python, tmp_path):
    found = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "check"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert not [line for line in found.stdout.splitlines() if line.startswith("carat ")]


def spent():
    "Seconds that processes started from here have computed: a busy machine does not add to them."
    return sum(os.times()[2:4])


def test_help_answers_in_under_a_second_and_without_torch(python, carat, tmp_path):
    times = []
    for _ in range(5):
        before = spent()
        assert "prepare" in run(carat, "--help", cwd=tmp_path)
        times.append(spent() - before)
    assert statistics.median(times) < 1, times
    modules = run(python, "-c", HELP, cwd=tmp_path, error=True).split()
    assert "carat.cli" in modules and "torch" not in modules


def test_a_run_from_an_empty_folder(carat, tmp_path):
    run(carat, "prepare", "twin", "--out", "twin.h5", "--size", 90, cwd=tmp_path)
    run(carat, "train", "twin.h5", "--out", "run", *TINY, cwd=tmp_path)
    assert "F1" in run(carat, "evaluate", "run", "twin.h5", cwd=tmp_path)
    run(carat, "predict", "run", "twin.h5", "--out", "predictions.csv", cwd=tmp_path)
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) > 5
    assert json.loads((tmp_path / "run" / "config.json").read_text())["seed"] == 1


@pytest.mark.parametrize("chapter", ["41_reference", "96_results"])
def test_a_notebook_away_from_the_project_finds_the_recorded_results(python, tmp_path, chapter):
    shutil.copy(ROOT / "nbs" / f"{chapter}.ipynb", tmp_path)
    run(python, "-c", NOTEBOOK, f"{chapter}.ipynb", cwd=tmp_path)


def home_of(python, folder):
    "Where an environment finds the package."
    return Path(run(python, "-c", "import carat; print(carat.__file__)", cwd=folder).strip())


def test_a_notebook_installs_the_copy_that_it_lies_in_and_nothing_elsewhere(tmp_path, monkeypatch):
    "In an environment with torch and without carat, from an empty folder and from a checkout."
    monkeypatch.setattr(stamp, "address", lambda: None)
    python, (empty, source) = environment(tmp_path), (tmp_path / n for n in ("empty", "a copy"))
    run(python, "-c", "import torch, fastcore", cwd=tmp_path)
    empty.mkdir()
    text = stamp.stamped((ROOT / "nbs" / "96_results.ipynb").read_text(encoding="utf-8"))
    (empty / "96_results.ipynb").write_text(text, encoding="utf-8")
    said = run(python, "-c", NOTEBOOK, "96_results.ipynb", cwd=empty, error=True, status=1)
    assert "open this notebook inside a copy of the project" in said and "pip install" in said
    run(python, "-c", "import carat", cwd=empty, status=1)
    copy_of_the_project(source)
    (source / "nbs" / "96_results.ipynb").write_text(text, encoding="utf-8")
    run(python, "-c", NOTEBOOK, "96_results.ipynb", cwd=source / "nbs")
    assert home_of(python, empty).is_relative_to(tmp_path / "env")
    run(python, "-c", NOTEBOOK, "96_results.ipynb", cwd=empty)  # it is installed now


def test_with_an_address_a_notebook_installs_from_there(tmp_path, monkeypatch):
    source, empty = copy_of_the_project(tmp_path / "source"), tmp_path / "empty"
    author = ("-c", "user.name=a", "-c", "user.email=a@b.example")
    for words in (("init", "-q"), ("add", "-A"), (*author, "commit", "-qm", "x")):
        run("git", "-C", source, *words, cwd=tmp_path)
    url = "https://github.com/somebody/carat"  # git finds it in the copy
    monkeypatch.setattr(stamp, "address", lambda: url)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.file://{source}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", url)
    python = environment(tmp_path)
    empty.mkdir()
    text = stamp.stamped((ROOT / "nbs" / "96_results.ipynb").read_text(encoding="utf-8"))
    (empty / "96_results.ipynb").write_text(text, encoding="utf-8")
    run(python, "-c", NOTEBOOK, "96_results.ipynb", cwd=empty)
    assert home_of(python, empty).is_relative_to(tmp_path / "env")
