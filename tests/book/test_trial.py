"""A small book, built from end to end: one chapter on CARAT, one on another paper.

It is built twice: with a placeholder for the project's address, and with an address."""

import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

import book
from book import check, made, stamp
from book.equations import NUMBERS

ADDRESS = "https://github.com/somebody/carat"
COPIED = "settings.ini", "_config.yml", "references.bib", "requirements.lock"
KERNEL = {"name": "python3", "display_name": "python3", "language": "python"}
START = [
    ("m", "# Start\n\n| symbol | meaning |\n| --- | --- |\n| $x$ | a number |"),
    ("m", "See Eq. 4 and TAILOR Eq. 4."),
]
EXPORTED = '#| export\ndef {name}(x):\n    "{eq}: what becomes of `x`."\n    return x * {factor}'
PROOF = "#| proves: {eq}\nassert {name}(1) == {factor}"
TOC = """format: jb-book
root: nbs/00_start
parts:
  - caption: Chapters
    chapters:
      - file: nbs/21_ours
      - file: nbs/50_tailor
  - caption: Appendix
    chapters:
      - file: nbs/api
        sections:
          - glob: nbs/api/*
      - file: nbs/equations
      - file: nbs/symbols
      - file: nbs/bibliography
      - file: nbs/cite
      - file: nbs/status
"""


def equation(tag, name, factor):
    "The cells of an equation: formula, function, proof."
    return [
        ("m", f"$$y = {factor} K_o x \\tag{{{tag}}}$$"),
        ("c", EXPORTED.format(name=name, eq=f"Eq. {tag.split()[-1]}", factor=factor)),
        ("m", "**It multiplies.**"),
        ("c", PROOF.format(eq=tag.split()[-1], name=name, factor=factor)),
    ]


CHAPTERS = {
    "00_start": START,
    "21_ours": [
        ("m", "# Ours\n\nEq. 4 is ours, TAILOR Eq. 4 is not."),
        ("m", "| symbol | meaning |\n| --- | --- |\n| $K_o$ | known to the chapters on CARAT |"),
        ("c", "#| default_exp nn.ours"),
        *[cell for n in NUMBERS for cell in equation(str(n), f"ours_{n}", n)],
    ],
    "50_tailor": [
        ("m", "# Theirs\n\nEq. 4 is theirs, CARAT Eq. 5 is not, and Eq. 9 is not here."),
        ("c", "#| default_exp systems.tailor"),
        *equation("TAILOR 4", "theirs", 40),
    ],
}


class Project:
    "The small book, and what it says after a build."

    def __init__(self, root, cells):
        self.root, self.html = root, root / "_build" / "html"
        shutil.copytree(
            book.ROOT / "book",
            root / "book",
            ignore=shutil.ignore_patterns("*.png", "mutants.[jt]*"),
        )
        for name in COPIED:
            shutil.copy(book.ROOT / name, root)
        (root / "nbs").mkdir()
        (root / "_toc.yml").write_text(TOC)
        for page in ("api", "equations", "symbols", "bibliography", "cite", "status"):
            shutil.copy(book.ROOT / "nbs" / f"{page}.md", root / "nbs")
        for stem, pairs in CHAPTERS.items():
            nb = cells(*pairs)
            nb.metadata.kernelspec = KERNEL
            text = stamp.stamped(nbformat.writes(nb))
            (root / "nbs" / f"{stem}.ipynb").write_text(text)
        check.tool("nbdev_export", root)

    def build(self):
        done = subprocess.run(
            [sys.executable, "-m", "book.build"],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(self.root), "CARAT_DATA": ""},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    def page(self, name):
        return (self.html / "nbs" / f"{name}.html").read_text(encoding="utf-8")

    def links(self, name, kind="to-equation"):
        "The links of a kind that the book has set into a page, as (address, words)."
        found = re.findall(
            rf'<a class="[^"]*{kind}[^"]*" href="([^"]*)">(.*?)</a>', self.page(name)
        )
        return [(href, re.sub("<[^>]*>", "", words)) for href, words in found]

    def previews(self):
        text = (self.html / "_static" / "previews.js").read_text(encoding="utf-8")
        return json.loads(text[text.index("{") : text.rindex("}") + 1])["previews"]


@pytest.fixture(scope="module")
def project(tmp_path_factory, cells):
    made = Project(tmp_path_factory.mktemp("trial"), cells)
    made.build()
    return made


@pytest.mark.slow
def test_mentions_lead_to_the_equation_of_their_paper(project):
    assert project.links("00_start") == [
        ("21_ours.html#eq-4", "Eq. 4"),
        ("50_tailor.html#eq-tailor-4", "TAILOR Eq. 4"),
    ]
    assert ("#eq-4", "Eq. 4") in project.links("21_ours")
    assert ("50_tailor.html#eq-tailor-4", "TAILOR Eq. 4") in project.links("21_ours")
    theirs = project.links("50_tailor")
    assert theirs == [("#eq-tailor-4", "Eq. 4"), ("21_ours.html#eq-5", "CARAT Eq. 5")]
    assert 'id="eq-tailor-4"' in project.page("50_tailor")
    assert r"\tag{TAILOR 4}" in project.page("50_tailor")
    assert 'id="eq-4"' in project.page("21_ours") and r"\tag{4}" in project.page("21_ours")


def test_the_map_has_a_section_for_each_paper(project):
    text = project.page("equations")
    headings = re.findall(r"<h([23])>(\w.*?)<", text)
    ours = [("2", f"Equation {n}") for n in NUMBERS]
    assert [h for h in headings if h[0] == "2"] == [*ours, ("2", "Equations of TAILOR")]
    assert headings[-1] == ("3", "TAILOR Eq. 4")
    assert "The 17 equations of the paper have 17 proofs with 17 assertions" in text
    assert "TAILOR has 1 equation in this book, with 1 proof and 1 assertion" in text
    ours, theirs = text.split("<h2>Equations of TAILOR")
    assert 'href="21_ours.html#eq-4"' in ours
    assert 'href="50_tailor' not in ours.split("<article", 1)[1]
    assert 'href="50_tailor.html#eq-tailor-4"' in theirs and "21_ours.html#eq" not in theirs
    assert 'id="map-eq-tailor-4"' in text and 'href="#map-eq-tailor-4"' in text


def test_a_symbol_of_one_paper_has_no_meaning_in_another(project):
    symbol = r"\class{symbol-uk-o}{K_o}"
    ours, theirs = project.page("equations").split("<h2>Equations of TAILOR")
    assert symbol in ours and symbol not in theirs and "K_o" in theirs
    assert symbol in project.page("21_ours") and symbol not in project.page("50_tailor")


def test_previews_and_reference_name_the_paper(project):
    found = project.previews()
    assert r"\tag{4}" in found["nbs/21_ours.html#eq-4"]
    assert "ours_4" in found["nbs/21_ours.html#eq-4"]
    assert r"\tag{TAILOR 4}" in found["nbs/50_tailor.html#eq-tailor-4"]
    assert "theirs" in found["nbs/50_tailor.html#eq-tailor-4"]
    entry = project.page("api/carat.systems.tailor")
    assert 'href="../50_tailor.html#eq-tailor-4"' in entry and "TAILOR Eq. 4</span>" in entry
    assert "21_ours.html#eq" not in entry
    assert "carat.nn.ours" in project.page("api") and "carat.systems.tailor" in project.page("api")


@pytest.mark.slow
def test_pages_name_an_address_and_offer_launching_only_if_there_is_one(project):
    hosts = "colab.research.google.com", "kaggle.com/kernels"
    names = [p.stem for p in (project.html / "nbs").glob("*.html")]
    assert "21_ours" in names and "cite" in names
    for name in names:
        assert not re.search("|".join([*hosts, r"carat-book\.example"]), project.page(name)), name
    settings = project.root / "settings.ini"
    before = settings.read_text(encoding="utf-8")
    settings.write_text(re.sub(r"(?m)^git_url = .*$", f"git_url = {ADDRESS}", before))
    project.build()
    for host in hosts:
        assert re.search(rf'href="https://{host}[^"]*nbs/21_ours\.ipynb"', project.page("21_ours"))
    assert f'href="{ADDRESS}"' in project.page("21_ours") and ADDRESS in project.page("cite")


def test_every_part_of_the_pages_is_made(project):
    "What the pages ask the book to say of itself is there."
    for path in (book.ROOT / "nbs").glob("*.md"):
        for _, part, _ in made.BLOCK.findall(path.read_text(encoding="utf-8")):
            assert part in made.PARTS, path.name
