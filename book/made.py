"""Text that the book writes about itself: in a page's source a block

    ```{made} equation-map
    ```

becomes the map of the equations, and so on for each function of PARTS. What they say comes from `facts`, never from a list."""

import platform
import re
from importlib.metadata import version

from . import ROOT, address, settings, surroundings
from .facts import EQUATIONS, assertions, facts, plain_tex

PAPER = "peng2024carat"  # its entry in references.bib


def table(header, rows, align=""):
    "A Markdown table; `align` has a letter a column: l or r."
    ruler = [{"r": "---:"}.get(a, "---") for a in align.ljust(len(header), "l")]

    def cell(x):
        return re.sub(r"(?<!\\)\|", r"\\|", str(x).replace("\n", " "))

    return (
        "\n".join("| " + " | ".join(map(cell, row)) + " |" for row in [header, ruler, *rows]) + "\n"
    )


def time_of(seconds):
    if seconds is None:
        return "–"
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def count(n, what):
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def lead(text, heading):
    "What a cell is about: the bold words before it, else the first sentence of the paragraph before it, else its heading."
    text = re.sub(r"^(```|:::).*?^\1[ \t]*$", "", text, flags=re.M | re.S)
    blocks = [
        " ".join(b.split())
        for b in re.split(r"\n\s*\n", text)
        if b.strip() and not re.match(r"[#|]|\*\*Figure|\$\$", b.strip())
    ]
    if not blocks:
        return heading
    text = blocks[-1]
    if bold := re.match(r"\*\*(.+?)\*\*", text):
        return bold[1].rstrip(".:,")
    held = []
    kept = re.sub(
        r"\$[^$]*\$|`[^`]*`|\[[^\]]*\]\([^)]*\)",
        lambda m: held.append(m[0]) or f"\0{len(held) - 1}\0",
        text,
    )
    kept = re.split(r"(?<!Eq)(?<!Eqs)(?<!vs)[.:](?:\s|$)", kept, maxsplit=1)[0]
    return re.sub(r"\0(\d+)\0", lambda m: held[int(m[1])], kept)


def without_links(text):
    "Markdown whose links and citations are reduced to their words, fit to be the words of a link."
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"\s*\{cite(?::\w+)?\}`[^`]*`", "", text)


def reference(d, short=None):
    return f"{{py:obj}}`{short or d.short} <{d.qualified}>`"


# the equations


def outcome(cell):
    if not cell.runs or cell.seconds is None:
        return "not run"
    return "failed" if cell.failed else "passed"


def equation_map():
    f, out, rows = facts(), [], []
    proofs = {(c.chapter, c.index): c for e in f.equations.values() for c in e.proofs}
    passed = [c for c in proofs.values() if outcome(c) == "passed"]
    made = {
        tuple(
            sorted(
                {
                    k: c.ran["environment"][k]
                    for k in ("device", "torch", "python")
                    if k in c.ran.get("environment", {})
                }.items()
            )
        )
        for c in f.chapters.values()
        if c.ran
    }
    where = " and ".join(
        sorted(", ".join(f"{k} {v}" if k != "device" else v for k, v in m) for m in made if m)
    )
    out.append(
        f"The {len(EQUATIONS)} equations of the paper have {count(len(proofs), 'proof')} with {count(sum(assertions(c.tree) for c in proofs.values()), 'assertion')}: "
        f"**{len(passed)} of {len(proofs)} passed in this build**"
        + (f" ({where})" if where else "")
        + ". A proof may belong to more than one equation.\n"
    )
    for n in EQUATIONS:
        e = f.equations[n]
        good = [c for c in e.proofs if outcome(c) == "passed"]
        rows.append(
            (
                f"[{n}](#map-eq-{n})",
                f"[{f.chapters[e.cell.chapter].name}](#eq-{n})",
                ", ".join(reference(d) for d in e.symbols),
                f"{len(good)} of {len(e.proofs)}",
                time_of(sum(c.seconds or 0 for c in e.proofs)),
            )
        )
    out.append(
        "::::{container} equation-map\n"
        + table(("Eq.", "chapter", "symbols", "proofs passed", "time"), rows, "lllrr")
        + "::::\n"
    )
    for n in EQUATIONS:
        e = f.equations[n]
        chapter = f.chapters[e.cell.chapter]
        tex = (
            e.tex
            if not e.tex.startswith((r"\begin{align}", r"\begin{gather}"))
            else e.tex.replace("{align}", "{aligned}").replace("{gather}", "{gathered}")
        )
        out += [
            f"(map-eq-{n})=\n## Equation {n}\n",
            f"$$\n{tex}\n$$\n",
            f"Chapter [{chapter.name}](#eq-{n}) · exported as {', '.join(reference(d) for d in e.symbols)}\n",
        ]
        rows = [
            (
                f"[{outcome(c)}]{{.{outcome(c).replace(' ', '-')}}}",
                f"[{without_links(lead(c.text, c.heading))}](#{c.anchor})"
                + (
                    f" ([{f.chapters[c.chapter].number}](#{c.anchor}))"
                    if c.chapter != e.cell.chapter
                    else ""
                ),
                assertions(c.tree),
                time_of(c.seconds),
            )
            for c in e.proofs
        ]
        out.append(
            "::::{container} proofs\n"
            + table(("result", "proof", "assertions", "time"), rows, "llrr")
            + "::::\n"
        )
    return "\n".join(out)


# the symbols

GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi omega".split()


def letter(tex):
    "What a symbol is sorted by: its main letter, Latin before Greek, then the whole."
    bare = re.sub(
        r"\\(?:tilde|hat|bar|vec|mathcal|mathbb|left|right|\{|\})|[{}\s\\]*(?=\\)|^[{}\s]+",
        "",
        plain_tex(tex),
    ).lstrip("{ ")
    if m := re.match(r"\\(var)?([A-Za-z]+)", bare):
        return (1, GREEK.index(m[2].lower()), bare) if m[2].lower() in GREEK else (2, 0, bare)
    return 0, bare[:1].lower(), bare


def symbol_id(tex):
    words = re.sub(r"[^A-Za-z0-9]+", "-", plain_tex(tex).replace("\\", " ")).strip("-")
    return f"symbol-{''.join(f'u{c}' if c.isupper() else c for c in words).lower()}"


def symbol_groups():
    "{id: [Symbol, ...]}, each symbol with all that the chapters say of it, in the order of the index."
    groups = {}
    for s in sorted(facts().symbols, key=lambda s: letter(s.tex)):
        groups.setdefault(symbol_id(s.tex), []).append(s)
    return groups


def symbol_index():
    f, rows = facts(), []
    for key, group in symbol_groups().items():
        for i, s in enumerate(group):
            shown = f"[${s.tex}$]{{#{key}}}" if i == 0 else ""
            rows.append(
                (
                    shown,
                    s.meaning,
                    s.shape,
                    s.code,
                    f"[{f.chapters[s.chapter].number or 'notation'}]({s.chapter}.ipynb)",
                )
            )
    return (
        "::::{container} symbol-index\n"
        + table(("symbol", "meaning", "shape", "in code", "chapter"), rows)
        + "::::\n"
    )


# the status of the edition


def versions():
    import torch

    cfg, packages = (
        settings(),
        "torch numpy h5py scikit-learn scipy matplotlib seaborn safetensors tensorboard tyro nbdev jupyter-book sphinx",
    )
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else "CPU: no CUDA device was there"
    )
    rows = [
        ("the book", f"{cfg['lib_name']} {cfg['version']}, state `{surroundings()[:12]}`"),
        ("Python", platform.python_version()),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("device", device),
        *((p, version(p)) for p in packages.split()),
    ]
    return table(("what", "version"), rows)


def environments():
    "The environments that notebooks of this edition ran in, as {its items: letter}."
    out = {}
    for c in facts().chapters.values():
        if c.ran:
            out.setdefault(tuple(c.ran.get("environment", {}).items()), chr(ord("A") + len(out)))
    return out


def notebook_runs():
    f, known, rows = facts(), environments(), []
    for c in f.chapters.values():
        ran = [cell for cell in c.cells if cell.kind == "code" and cell.runs]
        rows.append(
            (
                f"[{c.name}]({c.stem}.ipynb)",
                c.ran.get("when", "not run"),
                f"{c.ran.get('seconds', 0):.1f}",
                len(ran),
                sum(assertions(cell.tree) for cell in ran),
                c.ran.get("data", ""),
                f"[{known[tuple(c.ran.get('environment', {}).items())]}](#environments)"
                if c.ran
                else "",
            )
        )
    total = [sum(r[i] for r in rows) for i in (3, 4)]
    bad = sum(cell.failed for c in f.chapters.values() for cell in c.cells)
    text = f"{count(len(rows), 'notebook')} with {count(total[0], 'code cell')} and {count(total[1], 'assertion')}: {count(bad, 'cell')} failed.\n\n"
    text += table(
        ("notebook", "executed (UTC)", "seconds", "cells", "assertions", "data", "environment"),
        rows,
        "llrrrll",
    )
    text += "\n(environments)=\n### Environments\n\n"
    return (
        text
        + table(
            ("", *dict(list(known)[0])),
            [(letter, *dict(items).values()) for items, letter in known.items()],
        )
        if known and list(known)[0]
        else text
    )


def run_label(name):
    return f"run-{name.lower().replace('_', '-')}"


def flat(value, prefix=""):
    "Name and value of every leaf of nested JSON; long lists by their length."
    if isinstance(value, dict) and value:
        for k, v in value.items():
            yield from flat(v, f"{prefix}.{k}" if prefix else str(k))
    elif isinstance(value, list) and (
        len(value) > 12 or any(isinstance(v, (dict, list)) for v in value)
    ):
        yield prefix, count(len(value), "entry").replace("entrys", "entries")
    else:
        yield (
            prefix,
            ", ".join(map(str, value))
            if isinstance(value, list)
            else f"{value:.4g}"
            if isinstance(value, float)
            else value,
        )


def recorded_runs():
    "A foldable block a recorded run: everything that its file says of configuration, data, device, seed and versions, and what it reached."
    f, out = facts(), []
    for name, r in f.runs().items():
        shown = [c for c in f.chapters.values() if any(name in f.runs_of(cell) for cell in c.cells)]
        data, device = r.get("data", {}), r.get("device", "")
        device = (
            device
            if isinstance(device, str)
            else " ".join(str(device[k]) for k in ("type", "name") if device.get(k))
            + (f", {count(device['threads'], 'thread')}" if device.get("threads") else "")
        )
        about = [
            ("what", r.get("title") or r.get("what")),
            ("data", data.get("name") if isinstance(data, dict) else data),
            (
                "samples",
                ", ".join(f"{k} {v:,}" for k, v in data.get("splits", {}).items())
                if isinstance(data, dict)
                else "",
            ),
            ("device", device),
            ("seed", r.get("seed")),
            ("versions", ", ".join(f"{k} {v}" for k, v in r.get("versions", {}).items())),
            ("shown in", ", ".join(f"[{c.name}]({c.stem}.ipynb)" for c in shown)),
            ("the whole record", f"{{download}}`{name}.json <../results/{name}.json>`"),
        ]
        text = table(("", ""), [(k, v) for k, v in about if v not in (None, "")])
        for part in [
            k
            for k, v in r.items()
            if isinstance(v, dict)
            and k not in ("data", "device", "versions", "case")
            and "trivial" not in k
        ]:
            leaves = [
                (k.removeprefix("config."), v)
                for k, v in flat({k: v for k, v in r[part].items() if k != "trivial"})
                if v not in (None, "")
            ]
            text += (
                f"\n**{part.replace('_', ' ').capitalize()}**\n: "
                + " · ".join(f"`{k}` {v}" for k, v in leaves)
                + "\n"
            )
        said = list(
            dict.fromkeys(
                filter(
                    None,
                    (
                        dict(about)["what"]
                        or (
                            f"a measurement of the training step, {r['precision']}, {r['lengths']} lengths"
                            if "precision" in r and "rows" in r
                            else "a recorded run"
                        ),
                        dict(about)["data"],
                    ),
                )
            )
        )
        out.append(
            f"({run_label(name)})=\n:::::{{dropdown}} {name.replace('_', ' ')}: {', '.join(said)}\n\n{text}\n:::::\n"
        )
    return "\n".join(out) or "There is none.\n"


# citing


def bibtex():
    "The entries of the book and of the paper."
    cfg = settings()
    text = (ROOT / "references.bib").read_text(encoding="utf-8")
    paper = re.search(rf"^@\w+\{{{PAPER},.*?^\}}", text, re.M | re.S)[0]
    entry = {
        "author": f"{{{cfg['author']}}}",
        "title": f"{{{cfg['title']}}}: {cfg['description']}",
        "year": cfg["copyright"].split()[0],
        "note": f"Version {cfg['version']}",
        **({"url": address()} if address() else {}),
    }
    lines = ",\n".join(f"  {key:7} = {{{value}}}" for key, value in entry.items())
    book = f"@book{{carat-book,\n{lines}\n}}"
    return book, paper


def cite_book():
    return f"```bibtex\n{bibtex()[0]}\n```\n"


def cite_paper():
    return f"```bibtex\n{bibtex()[1]}\n```\n"


# the reference


def api(name):
    "Where a public name is defined and an example of it that ran."
    f = facts()
    if (d := f.definitions.get(name)) is None:
        return ""
    chapter = f.chapters[d.cell.chapter]
    text = (
        f"Defined in [{chapter.name}](#{d.cell.anchor})"
        if not d.cell.hidden
        else f"Defined in [{chapter.name}]({chapter.stem}.ipynb)"
    )
    belongs = sorted(n for n, e in f.equations.items() if d in e.symbols)
    if belongs:
        text += " · " + ", ".join(f"[Eq. {n}](#eq-{n})" for n in belongs)
    proofs = {(c.chapter, c.index) for n in belongs for c in f.equations[n].proofs}
    if proofs:
        text += f" · [{count(len(proofs), 'proof')}](#map-eq-{belongs[0]})"
    text = f"::::{{container}} api-links\n{text}\n::::\n"
    if e := d.example:
        other = f.chapters[e.cell.chapter]
        from_ = (
            f"in [{other.name}](#{e.cell.anchor})"
            if not e.cell.hidden
            else f"in a hidden check of [{other.name}]({other.stem}.ipynb)"
        )
        said = (
            f"An example that ran, through {reference(e.via)}, {from_}"
            if e.via
            else f"An example that ran, {from_}"
        )
        if e.via and d.owner and e.via.short in (d.owner, d.short):
            said = f"An example that ran with its class, {from_}"
        text += f"\n::::{{container}} api-example\n{said}\n\n```python\n{e.code}\n```\n"
        if e.output and len(e.output) < 600 and not e.via:
            text += f"\n```text\n{e.output}\n```\n"
        text += "::::\n"
    return text


PARTS = {
    "equation-map": equation_map,
    "symbol-index": symbol_index,
    "versions": versions,
    "notebooks": notebook_runs,
    "runs": recorded_runs,
    "cite-book": cite_book,
    "cite-paper": cite_paper,
    "api": api,
}
BLOCK = re.compile(r"^(`{3,})\{made\} ([\w-]+)(?: +(\S+))?[ \t]*\n\1[ \t]*$", re.M)


def fill(text):
    "The text with its `made` blocks filled in, and whether there were any."
    return BLOCK.subn(lambda m: PARTS[m[2]](*([m[3]] if m[3] else [])), text)
