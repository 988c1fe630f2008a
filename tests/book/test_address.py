"""What depends on the project's address: install cells, links, launch buttons.

While settings.ini holds a placeholder, nothing installs from it and nothing links to it."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

import book
from book import ROOT, cite, notebooks, read_notebook, reader, settings, stamp

SET = "https://github.com/somebody/carat"

# Runs an install cell where `missing` cannot be found, and prints its commands instead.
STUB = """
import importlib.util, json, subprocess, sys
cell, missing = json.loads(sys.stdin.read())
importlib.util.find_spec = lambda name: None if name in missing else sys
subprocess.run = lambda command, check: print(json.dumps(command))
exec(compile(cell, "install", "exec"), {})
"""


def with_address(monkeypatch, url):
    "Let settings.ini hold an address."
    found = {**settings(), "git_url": url}
    for module in (book, stamp, cite, reader):
        monkeypatch.setattr(module, "settings", lambda: found)


def install(cell, folder, missing=("carat", "fastcore")):
    "The commands that an install cell would run in a folder, or the error that it ends with."
    done = subprocess.run(
        [sys.executable, "-c", STUB],
        cwd=folder,
        input=json.dumps([cell, missing]),
        capture_output=True,
        text=True,
        env={"PATH": ""},
    )
    if done.returncode:
        return done.stderr.strip().splitlines()[-1]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def checkout(tmp_path):
    "A copy of the project, as far as an install cell looks, with a folder of notebooks in it."
    notebooks = tmp_path / "a copy" / "nbs"
    notebooks.mkdir(parents=True)
    (notebooks.parent / "settings.ini").write_text((ROOT / "settings.ini").read_text())
    return notebooks


@pytest.mark.parametrize(
    "url, known",
    [
        (SET, True),
        ("https://gitlab.com/a/b", True),
        ("https://example-lab.org/carat", True),
        ("https://carat-book.example/carat", False),
        ("https://www.example.org/carat", False),
        ("https://github.invalid/carat", False),
        ("", False),
    ],
)
def test_a_reserved_domain_is_a_placeholder(monkeypatch, url, known):
    with_address(monkeypatch, url)
    assert book.address() == (url if known else None)


def test_without_an_address_the_checkout_is_installed(monkeypatch, checkout, tmp_path):
    with_address(monkeypatch, "https://carat-book.example/carat")
    cell, pip = stamp.install_cell(), [sys.executable, "-m", "pip", "install", "-q"]
    for folder in (checkout, checkout.parent):
        assert install(cell, folder) == [[*pip, f"{checkout.parent}[dev]"]]
        assert install(cell, folder, ["fastcore"]) == [[*pip, f"{checkout.parent}[dev]"]]
        assert install(cell, folder, []) == []


def test_without_an_address_and_outside_a_checkout_one_sentence_says_what_to_do(
    monkeypatch, tmp_path
):
    with_address(monkeypatch, "https://carat-book.example/carat")
    (tmp_path / "other").mkdir()
    (tmp_path / "settings.ini").write_text("[DEFAULT]\nlib_name = other\n")
    for folder in (tmp_path, tmp_path / "other"):
        said = install(stamp.install_cell(), folder)
        assert said == (
            "RuntimeError: The package carat is missing: open this notebook inside a copy of the "
            'project, or run `pip install ".[dev]"` in one.'
        )
    assert install(stamp.install_cell(), tmp_path, []) == []


def test_with_an_address_it_is_installed_from(monkeypatch, checkout, tmp_path):
    with_address(monkeypatch, SET)
    command = [sys.executable, "-m", "pip", "install", "-q", f"carat[dev] @ git+{SET}"]
    for folder in (checkout, tmp_path):
        assert install(stamp.install_cell(), folder) == [command]
        assert install(stamp.install_cell(), folder, []) == []


@pytest.mark.parametrize("url", ["https://carat-book.example/carat", SET])
def test_stamping_is_stable_and_the_cell_needs_no_formatting(monkeypatch, url):
    with_address(monkeypatch, url)
    text = stamp.stamped(notebooks()[1].read_text(encoding="utf-8"))
    assert stamp.stamped(text) == text
    cells = json.loads(text)["cells"]
    assert cells[0]["cell_type"] == "markdown"
    cell = "".join(cells[1]["source"])
    assert max(map(len, cell.splitlines())) <= 100
    assert (url in cell) == (url == SET)
    ruff = [sys.executable, "-m", "ruff", "format", "--check", "--config", "pyproject.toml", "-"]
    formatted = subprocess.run(ruff, cwd=ROOT, input=cell + "\n", text=True, capture_output=True)
    assert formatted.returncode == 0, formatted.stdout + formatted.stderr


def test_readme_citation_and_entry_name_the_address_only_if_there_is_one(monkeypatch):
    readme, citation = "<!-- install -->\n\n<!-- /install -->", "version: 0\nlicense: x\n"
    with_address(monkeypatch, SET)
    assert f'pip install "carat @ git+{SET}"' in stamp.stamped_readme(readme)
    assert "placeholder" not in stamp.stamped_readme(readme)
    there = stamp.stamped_citation(citation)
    assert f"repository-code: {SET}\n" in there and stamp.stamped_citation(there) == there
    assert f"url     = {{{SET}}}" in cite.bibtex()[0]
    with_address(monkeypatch, "https://carat-book.example/carat")
    assert "pip install .\n" in stamp.stamped_readme(readme)
    assert "no public address yet" in stamp.stamped_readme(readme)
    assert stamp.stamped_citation(there) == f"version: {settings()['version']}\nlicense: x\n"
    assert "url" not in cite.bibtex()[0] and "example" not in cite.bibtex()[0]


def buttons(monkeypatch, url):
    "What the theme is told of the address."
    with_address(monkeypatch, url)
    config = SimpleNamespace(html_theme_options={})
    reader.config_inited(None, config)
    found = config.html_theme_options
    return found["repository_url"], found["use_repository_button"], found["launch_buttons"]


def test_buttons_appear_with_the_address(monkeypatch):
    colab = {"colab_url": "https://colab.research.google.com"}
    assert buttons(monkeypatch, SET) == (SET, True, colab)
    assert buttons(monkeypatch, "https://gitlab.com/a/b") == ("https://gitlab.com/a/b", True, {})
    assert buttons(monkeypatch, "https://carat-book.example/carat") == ("", False, {})


def test_the_address_stands_in_one_line():
    "The address of settings.ini is nowhere else but in what is stamped from it."
    url = settings()["git_url"]
    assert (ROOT / "settings.ini").read_text().count(url) == 1
    sources = [*(ROOT / "nbs").glob("*.md"), *(ROOT / "book").rglob("*.py")]
    sources += [ROOT / n for n in ("_config.yml", "_toc.yml", "Makefile", "setup.py")]
    if book.address() is None:
        sources += [*notebooks(), ROOT / "README.md", ROOT / "CITATION.cff"]
    for path in sources:
        assert url not in path.read_text(encoding="utf-8"), path


def test_every_notebook_has_the_cell():
    for path in notebooks():
        cell = read_notebook(path).cells[1]
        assert cell.id == stamp.CELL_ID and cell.source == stamp.install_cell(), path.name
