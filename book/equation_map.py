"The map of the equations: their chapters, symbols and proofs, with a section per paper."

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
        + ". A proof may belong to more than one equation.\n"
    )


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
                time_of(sum(c.seconds or 0 for c in e.proofs)),
            )
        )
    header = "Eq.", "chapter", "symbols", "proofs passed", "time"
    return container("equation-map", table(header, rows, "lllrr"))


def aligned(tex):
    "A formula that stands alone in the chapter, as part of a display without numbers."
    return tex.replace("{align}", "{aligned}").replace("{gather}", "{gathered}")


def proof_row(cell, home):
    "A proof in the table of an equation whose chapter is `home`."
    result, chapter = outcome(cell), facts().chapters[cell.chapter]
    about = f"[{without_links(lead(cell.text, cell.heading))}](#{cell.anchor})"
    if cell.chapter != home:
        about += f" ([{chapter.number}](#{cell.anchor}))"
    mark = f"[{result}]{{.{result.replace(' ', '-')}}}"
    return mark, about, assertions(cell.tree), time_of(cell.seconds)


def section(equation):
    "What the book has of an equation."
    f = facts()
    e = f.equations[equation]
    chapter = f.chapters[e.cell.chapter]
    tex = aligned(e.tex) if e.tex.startswith((r"\begin{align}", r"\begin{gather}")) else e.tex
    mine = equation.paper == CARAT
    heading = f"## Equation {equation.number}" if mine else f"### {equation}"
    symbols = ", ".join(reference(d) for d in e.symbols)
    rows = [proof_row(c, e.cell.chapter) for c in e.proofs]
    return [
        f"(map-{equation.target})=\n{heading}\n",
        f"$$\n{tex}\n$$\n",
        f"Chapter [{chapter.name}](#{equation.target}) · exported as {symbols}\n",
        container("proofs", table(("result", "proof", "assertions", "time"), rows, "llrr")),
    ]


def equation_map():
    f, out = facts(), []
    for paper in f.papers:
        if paper != CARAT:
            out.append(f"## Equations of {paper}\n")
        out += [summary(paper), overview(paper)]
        out += [part for equation in f.of_paper(paper) for part in section(equation)]
    return "\n".join(out)
