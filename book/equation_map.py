"The map of the equations: chapters, symbols, proofs, and the mutants that these kill, by paper."

from . import mutants
from .chapters import assertions
from .equations import CARAT, NUMBERS
from .facts import facts
from .markdown import container, count, lead, reference, table, time_of, without_links

ENVIRONMENT = "device", "torch", "python"


def outcome(cell):
    if not cell.runs or cell.seconds is None:
        return "not run"
    return "failed" if cell.failed else "passed"


def passed(cells):
    return [c for c in cells if outcome(c) == "passed"]


def proofs_of(paper):
    "The proofs of a paper's equations, each once."
    f = facts()
    found = {(c.chapter, c.index): c for e in f.of_paper(paper) for c in f.equations[e].proofs}
    return list(found.values())


def where_it_ran():
    "The environments of this build: device, torch and Python."
    found = set()
    for chapter in facts().chapters.values():
        ran = chapter.ran.get("environment", {})
        if items := sorted((k, ran[k]) for k in ENVIRONMENT if k in ran):
            found.add(", ".join(v if k == "device" else f"{k} {v}" for k, v in items))
    return " and ".join(sorted(found))


def summary(paper):
    "How many proofs a paper's equations have, and how many of them passed."
    proofs, where = proofs_of(paper), where_it_ran()
    checks = count(sum(assertions(c.tree) for c in proofs), "assertion")
    said = f"The {len(NUMBERS)} equations of the paper have {count(len(proofs), 'proof')} with"
    if paper != CARAT:
        number = count(len(facts().of_paper(paper)), "equation")
        said = f"{paper} has {number} in this book, with {count(len(proofs), 'proof')} and"
    return (
        f"{said} {checks}: **{len(passed(proofs))} of {len(proofs)} passed in this build**"
        + (f" ({where})" if where else "")
        + ". A proof may belong to more than one equation."
        + tried([m for m in mutants.declared() if m.equations and m.equations[0].paper == paper])
        + "\n"
    )


def killed(found):
    "Those of some mutants that a proof kills."
    return [m for m in found if mutants.killers(mutants.record(), m)]


def tried(found):
    "A sentence on the mutants of a paper's equations; nothing where it has none."
    if not found:
        return ""
    late = [stem[:2] for stem in mutants.judged() if mutants.changed(stem)]
    chapters = f"{'Chapters' if late[1:] else 'Chapter'} {', '.join(late)}"
    said = f" They kill **{len(killed(found))} of {count(len(found), 'mutant')}**."
    return f"{said} {chapters} changed after the mutants had run." if late else said


def overview(paper):
    "The table of a paper's equations."
    f, rows = facts(), []
    for equation in f.of_paper(paper):
        e = f.equations[equation]
        rows.append(
            (
                f"[{equation.number}](#map-{equation.target})",
                f"[{f.chapters[e.cell.chapter].name}](#{equation.target})",
                ", ".join(reference(d) for d in e.symbols),
                f"{len(passed(e.proofs))} of {len(e.proofs)}",
                f"{len(killed(e.mutants))} of {len(e.mutants)}" if e.mutants else "–",
                time_of(sum(c.seconds or 0 for c in e.proofs)),
            )
        )
    header = "Eq.", "chapter", "symbols", "proofs passed", "mutants killed", "time"
    return container("equation-map", table(header, rows, "lllrrr"))


def aligned(tex):
    "A formula that stands alone in the chapter, as part of a display without numbers."
    return tex.replace("{align}", "{aligned}").replace("{gather}", "{gathered}")


def cell_row(cell, number, found, home):
    "A cell in the table of what kills what; `home` is the chapter whose number need not be said."
    result, chapter = outcome(cell), facts().chapters[cell.chapter]
    about = without_links(lead(cell.text, cell.heading))
    about = f"{about} (hidden)" if cell.hidden else f"[{about}](#{cell.anchor})"
    if cell.chapter != home:
        about += f" ({chapter.number})"
    mark = f"[{result}]{{.{result.replace(' ', '-')}}}"
    dead = mutants.kills(cell, found)
    kills = "–" if dead is None else len(dead) or "none"
    return number, mark, about, kills, assertions(cell.tree), time_of(cell.seconds)


def code(text):
    return f"`{' '.join(text.split())}`"


def mutant_row(mutant, numbers):
    "A mutant in the table of what kills what; `numbers` are those of the cells."
    by = [numbers[k] for k in mutants.killers(mutants.record(), mutant) if k in numbers]
    what = f"{mutant.mistake}<br>{code(mutant.old)} → {code(mutant.new)}"
    return mutant.kind, what, ", ".join(map(str, by)) or "survives"


def what_kills_what(cells, properties, found, home):
    "Two tables: the cells with the number of mutants that they kill; the mutants with their cells."
    numbers = {(c.chapter, c.id): i for i, c in enumerate(cells, 1)}
    rows = [cell_row(c, numbers[c.chapter, c.id], found, home) for c in cells]
    rows += [cell_row(c, "property", found, home) for c in properties]
    header = "", "result", "what the cell shows", "kills", "assertions", "time"
    out = [container("proofs", table(header, rows, "lllrrr"))]
    if found:
        rows = [mutant_row(m, numbers) for m in found]
        out.append(container("mutants", table(("mutant", "mistake", "killed by"), rows)))
    return out


def section(equation):
    "What the book has of an equation."
    f = facts()
    e = f.equations[equation]
    chapter = f.chapters[e.cell.chapter]
    tex = aligned(e.tex) if e.tex.startswith((r"\begin{align}", r"\begin{gather}")) else e.tex
    mine = equation.paper == CARAT
    heading = f"## Equation {equation.number}" if mine else f"### {equation}"
    symbols = ", ".join(reference(d) for d in e.symbols)
    return [
        f"(map-{equation.target})=\n{heading}\n",
        f"$$\n{tex}\n$$\n",
        f"Chapter [{chapter.name}](#{equation.target}) · exported as {symbols}\n",
        *what_kills_what(e.proofs, e.properties, e.mutants, e.cell.chapter),
    ]


def unnumbered():
    "The mutants of formulas without a number, by chapter."
    out, f = [], facts()
    without = [m for m in mutants.declared() if not m.equations and m.chapter in f.chapters]
    for stem in dict.fromkeys(m.chapter for m in without):
        found = [m for m in without if m.chapter == stem]
        ids = {c.id for m in found for c in mutants.witnesses(m)}
        cells = [c for c in f.chapters[stem].cells if c.id in ids]
        by = [c for c in cells if mutants.kills(c, found) != []]
        chapter = f.chapters[stem]
        said = f"Chapter [{chapter.name}]({stem}.ipynb) has formulas without numbers."
        out += [f"## {chapter.title}\n", said + tried(found) + "\n"]
        out += what_kills_what(by, [c for c in cells if c not in by], found, stem)
    return out


def equation_map():
    f, out = facts(), []
    for paper in f.papers:
        if paper != CARAT:
            out.append(f"## Equations of {paper}\n")
        out += [summary(paper), overview(paper)]
        out += [part for equation in f.of_paper(paper) for part in section(equation)]
        if paper == CARAT:
            out += unnumbered()
    return "\n".join(out)
