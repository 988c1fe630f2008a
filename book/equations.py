"""How the book names equations, so that those of different papers are never mixed.

CARAT's are named by their number: `\\tag{6}` in a notebook, `#| proves: 6` on a cell, "Eq. 6" in
prose, docstrings and comments. Those of another paper carry its name: `\\tag{TAILOR 3}`,
`#| proves: TAILOR 3`, "TAILOR Eq. 3". A chapter whose first tag names another paper is a chapter
on that paper: a number without a name is then that paper's, and CARAT's is "CARAT Eq. 6".
A paper's name has at least two capitals, and is spelled in one way: TAILOR, MulT, ML-GCN.

Tag an equation only where the chapter exports and proves it. Of other papers some may be left out;
of CARAT's, all 17 must be there."""

import re
from typing import NamedTuple

CARAT = "CARAT"
NUMBERS = range(1, 18)  # CARAT's equations
PAPER = r"[A-Z][\w-]*[A-Z][\w-]*"
NAMED = rf"(?:\b({PAPER})(?:['’]s)?[ \n~]+)?"  # TAILOR, TAILOR's, or nothing
BLOCK = re.compile(r"^\$\$\s*(.+?)\s*\$\$[ \t]*$", re.M | re.S)  # a formula on lines of its own
TAG = re.compile(r"\s*\\tag\{([^}]*)\}")
MENTION = re.compile(
    rf"{NAMED}\b(?:Eqs?\.|Equations?)[ \n~]*\d+"
    r"(?:\s*(?:,|and|to|or|,\s*and)\s+(?:Eqs?\.[ \n~]*)?\d+)*"
    r"(?![\d%]|\.\d)"
)
PART = re.compile(rf"{NAMED}(Eqs?\.\s*|Equations?\s+)?(\d+)")


class Equation(NamedTuple):
    "An equation's paper, as it is printed, and its number there."

    paper: str
    number: int

    @property
    def tag(self):
        return str(self.number) if self.paper == CARAT else f"{self.paper} {self.number}"

    @property
    def target(self):
        return f"eq-{self.tag.replace(' ', '-').lower()}"

    def __str__(self):
        return f"Eq. {self.number}" if self.paper == CARAT else f"{self.paper} Eq. {self.number}"


def tagged(text):
    "The equation that a tag names: `6`, or `TAILOR 3`. Raises ValueError for anything else."
    if not (m := re.fullmatch(rf"(?:({PAPER}) )?(\d+)", text)):
        raise ValueError(f"{text!r} is neither a number nor a paper's name and a number: TAILOR 3")
    return Equation(m[1] or CARAT, int(m[2]))


def tags(source):
    "What the tags of a chapter's text say, each with its formula without tags."
    for block in BLOCK.findall(source):
        for tag in TAG.findall(block):
            yield tag, TAG.sub("", block)


def mentions(text, paper=CARAT):
    """The equations that a text names, as (begin, end, equation, first of a range or None).

    `paper` is the one whose equations go without a name."""
    for hit in MENTION.finditer(text or ""):
        named, before, end = paper, None, 0
        for part in PART.finditer(hit[0]):
            ranged = hit[0][end : part.start()].split()[-1:] == ["to"]
            if part[2] and not ranged:  # "TAILOR Eq. 3 and Eq. 6": the second has no name
                named = part[1] or paper
            found, end = Equation(named, int(part[3])), part.end()
            yield hit.start() + part.start(), hit.start() + end, found, before if ranged else None
            before = found


def mentioned(text, paper=CARAT):
    "The equations that a text names, ranges filled: Eq. 6, Eq. 3 and 17, Eq. 11 to 14."
    out = set()
    for _, _, found, first in mentions(text, paper):
        start = first.number if first else found.number
        out |= {Equation(found.paper, n) for n in range(start, found.number + 1)}
    return {e for e in out if e.paper != CARAT or e.number in NUMBERS}


def proved(text, paper=CARAT):
    """The equations that `#| proves:` names: `6 7`, or `TAILOR 3, CARAT 6`.

    A name holds for the numbers after it. Raises ValueError for what names no equation."""
    if not re.fullmatch(rf"\s*(?:(?:{PAPER}\s+)?\d+\b[\s,]*)+", text):
        raise ValueError(f"`#| proves: {text.strip()}` names no equation: write 6, or TAILOR 3")
    out = []
    for name, number in re.findall(rf"(?:({PAPER})\s+)?(\d+)", text):
        paper = name or paper
        out.append(Equation(paper, int(number)))
    return out
