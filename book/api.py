"The reference of the package: where each public name is defined, and an example that ran."

from .facts import facts
from .markdown import container, count, reference


def place(cell, hidden=""):
    "A link to a cell; to its chapter where readers do not see the cell."
    chapter = facts().chapters[cell.chapter]
    if cell.hidden:
        return f"{hidden}[{chapter.name}]({chapter.stem}.ipynb)"
    return f"[{chapter.name}](#{cell.anchor})"


def links(name):
    "Where a public name is defined and an example of it that ran."
    f = facts()
    if (d := f.definitions.get(name)) is None:
        return ""
    text = f"Defined in {place(d.cell)}"
    belongs = sorted(n for n, e in f.equations.items() if d in e.symbols)
    if belongs:
        text += " · " + ", ".join(f"[{e}](#{e.target})" for e in belongs)
    proofs = {(c.chapter, c.index) for n in belongs for c in f.equations[n].proofs}
    if proofs:
        text += f" · [{count(len(proofs), 'proof')}](#map-{belongs[0].target})"
    text = container("api-links", text + "\n")
    return text + (example(d) if d.example else "")


def example(d):
    "The example of a definition, with what it printed."
    e, through = d.example, ""
    if e.via and d.owner and e.via.short in (d.owner, d.short):
        through = " with its class"
    elif e.via:
        through = f", through {reference(e.via)}"
    text = f"An example that ran{through}, in {place(e.cell, 'a hidden check of ')}\n"
    text += f"\n```python\n{e.code}\n```\n"
    if e.output and len(e.output) < 600 and not e.via:
        text += f"\n```text\n{e.output}\n```\n"
    return "\n" + container("api-example", text)
