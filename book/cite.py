"How to cite the book and the paper."

import re
import textwrap

from . import ROOT, address, commit, settings

PAPER = "peng2024carat"  # its entry in references.bib


def bibtex():
    "The entries of the book and of the paper."
    cfg = settings()
    text = (ROOT / "references.bib").read_text(encoding="utf-8")
    paper = re.search(rf"^@\w+\{{{PAPER},.*?^\}}", text, re.M | re.S)[0]
    entry = {
        "author": f"{{{cfg['author']}}}",
        "title": _broken(f"{{{cfg['title']}}}: {cfg['description']}"),
        "year": cfg["copyright"].split()[0],
        "note": ", commit ".join(filter(None, (f"Version {cfg['version']}", commit()))),
        **({"url": address()} if address() else {}),
    }
    lines = ",\n".join(f"  {key:7} = {{{value}}}" for key, value in entry.items())
    book = f"@book{{carat-book,\n{lines}\n}}"
    return book, paper


def _broken(value):
    "A long value in lines that fit the column of a page."
    return textwrap.fill(value, 66, subsequent_indent=13 * " ", break_on_hyphens=False)


def cite_book():
    return f"```bibtex\n{bibtex()[0]}\n```\n"


def cite_paper():
    return f"```bibtex\n{bibtex()[1]}\n```\n"
