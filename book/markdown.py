"Small pieces of Markdown that the pages which the book writes about itself are made of."

import re


def table(header, rows, align=""):
    "A Markdown table; `align` has one letter per column: l or r."
    ruler = [{"r": "---:"}.get(a, "---") for a in align.ljust(len(header), "l")]

    def cell(x):
        return re.sub(r"(?<!\\)\|", r"\\|", str(x).replace("\n", " "))

    lines = ["| " + " | ".join(map(cell, row)) + " |" for row in [header, ruler, *rows]]
    return "\n".join(lines) + "\n"


def container(name, text, fence="::::"):
    return f"{fence}{{container}} {name}\n{text}{fence}\n"


def time_of(seconds):
    if seconds is None:
        return "–"
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def count(n, what):
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def reference(d, short=None):
    "A link to a definition's entry in the reference."
    return f"{{py:obj}}`{short or d.short} <{d.qualified}>`"


def without_links(text):
    "Markdown whose links and citations are reduced to their words, to be the words of a link."
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"\s*\{cite(?::\w+)?\}`[^`]*`", "", text)


def lead(text, heading):
    """What a cell is about, from the Markdown before it.

    The bold words at its start, else the first sentence of its last paragraph, else the heading."""
    text = re.sub(r"^(```|:::).*?^\1[ \t]*$", "", text, flags=re.M | re.S)
    blocks = [" ".join(b.split()) for b in re.split(r"\n\s*\n", text)]
    blocks = [b for b in blocks if b and not re.match(r"[#|]|\*\*Figure|\$\$", b)]
    if not blocks:
        return heading
    if bold := re.match(r"\*\*(.+?)\*\*", blocks[-1]):
        return bold[1].rstrip(".:,")
    held = []

    def hold(m):
        held.append(m[0])
        return f"\0{len(held) - 1}\0"

    kept = re.sub(r"\$[^$]*\$|`[^`]*`|\[[^\]]*\]\([^)]*\)", hold, blocks[-1])
    kept = re.split(r"(?<!Eq)(?<!Eqs)(?<!vs)[.:](?:\s|$)", kept, maxsplit=1)[0]
    return re.sub(r"\0(\d+)\0", lambda m: held[int(m[1])], kept)
