"The index of symbols, collected from the symbol tables of the chapters."

import re

from .facts import facts, plain_tex
from .markdown import container, table

GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega"
).split()
UNLETTERED = re.compile(
    r"\\(?:tilde|hat|bar|vec|mathcal|mathbb|left|right|\{|\})|[{}\s\\]*(?=\\)|^[{}\s]+"
)


def letter(tex):
    "What a symbol is sorted by: its main letter, Latin before Greek, then the whole."
    bare = UNLETTERED.sub("", plain_tex(tex)).lstrip("{ ")
    if m := re.match(r"\\(var)?([A-Za-z]+)", bare):
        return (1, GREEK.index(m[2].lower()), bare) if m[2].lower() in GREEK else (2, 0, bare)
    return 0, bare[:1].lower(), bare


def symbol_id(tex):
    words = re.sub(r"[^A-Za-z0-9]+", "-", plain_tex(tex).replace("\\", " ")).strip("-")
    return f"symbol-{''.join(f'u{c}' if c.isupper() else c for c in words).lower()}"


def spoken(tex):
    "A symbol as a screen reader says it: \\boldsymbol{U}_\\alpha^m is U alpha m."
    bare = re.sub(
        r"\\(?:boldsymbol|mathbf|mathcal|mathbb|mathrm|operatorname|left|right)\b", "", tex
    )
    return " ".join(re.findall(r"[A-Za-z0-9*']+", bare))


def symbol_groups():
    "{id: [Symbol, ...]}, each symbol with all that the chapters say of it, in the index's order."
    groups = {}
    for s in sorted(facts().symbols, key=lambda s: letter(s.tex)):
        groups.setdefault(symbol_id(s.tex), []).append(s)
    return groups


def symbol_index():
    f, rows = facts(), []
    for key, group in symbol_groups().items():
        for i, s in enumerate(group):
            shown = f"[${s.tex}$]{{#{key}}}" if i == 0 else ""
            chapter = f"[{f.chapters[s.chapter].number or 'notation'}]({s.chapter}.ipynb)"
            rows.append((shown, s.meaning, s.shape, s.code, chapter))
    return container(
        "symbol-index", table(("symbol", "meaning", "shape", "in code", "chapter"), rows)
    )
