"The rendered pages, as far as they need no browser. Skipped until `make book` has made them."

import re

import pytest

from book import (
    API,
    HTML,
    address,
    facts,
    modules,
    moved,
    notebooks,
    pages,
    read_notebook,
    settings,
)
from book.equations import CARAT, NUMBERS, Equation

pytestmark = pytest.mark.skipif(
    not (HTML / ".built").exists(), reason="the book has not been built: run make book"
)


@pytest.mark.parametrize(
    "check",
    [
        pages.missing,
        pages.raw_marks,
        pages.broken_links,
        pages.images_without_text,
        pages.loads_from_outside,
        pages.without_preview,
        pages.one_page,
    ],
)
def test_pages(check):
    assert check() == []


def test_every_chapter_can_be_downloaded_and_launched_where_there_is_an_address():
    silent = 0
    for p in notebooks():
        raw = (HTML / "nbs" / f"{p.stem}.html").read_text(encoding="utf-8")
        for host in ("colab.research.google.com/github/", "kaggle.com/kernels/welcome?src="):
            button = rf'href="https://{re.escape(host)}[^"]*nbs/{p.name}"'
            assert bool(re.search(button, raw)) == bool(address()), (p.name, host)
        assert settings()["git_url"] not in raw or address(), p.name
        source = re.search(r'href="\.\./(_sources/[^"]*\.ipynb)"', raw)
        assert source and (HTML / source[1]).read_bytes() == p.read_bytes(), p.name
        executed = re.search(r'href="\.\./(_executed/[^"]*\.ipynb)"', raw)
        assert executed, p.name
        code = [c for c in read_notebook(HTML / executed[1]).cells if c.cell_type == "code"]
        assert code and all(c.get("execution_count") for c in code), p.name
        silent += not any(c.get("outputs") for c in code)
    assert silent <= 1  # the page on notation prints nothing


def test_the_addresses_of_the_first_edition_lead_on():
    for old, new in moved.targets().items():
        text = (HTML / "nbs" / f"{old}.html").read_text(encoding="utf-8")
        assert f'content="0; url={new}.html"' in text and f'<a href="{new}.html">' in text
        assert (HTML / "nbs" / f"{new}.html").exists(), f"{old} leads to {new}, which is not there"


def test_the_map_is_on_its_page_and_all_proofs_passed():
    sections = re.split(r"<h2>Equation (\d+)<", pages.page("nbs/equations").raw)[1:]
    assert [int(n) for n in sections[::2]] == list(NUMBERS)
    for n, section in zip(sections[::2], sections[1::2], strict=True):
        equation = Equation(CARAT, int(n))
        assert f'#{equation.target}"' in section and "#cell-" in section, equation
        assert re.search(r'href="api/carat[.\w]*\.html#carat\.', section), equation
        assert 'class="passed"' in section, equation
        assert 'class="failed"' not in section and 'class="not-run"' not in section, equation


def test_every_public_name_has_an_entry_with_origin_and_example():
    entries = {}
    for module in modules():
        raw = pages.page(f"{API}/{module}").raw
        parts = re.split(r'<dt class="sig [^"]*" id="(carat[^"]*)">', raw)
        entries |= dict(zip(parts[1::2], parts[2::2], strict=True))
    for q, d in facts.facts().definitions.items():
        assert q in entries, f"{q} is not in the reference"
        assert "Defined in" in entries[q], q
        shown = "An example that ran" in entries[q] or "its example ran in" in entries[q]
        assert shown or not d.example, q
