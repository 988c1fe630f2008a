"The status page: what this edition was made with, and the recorded runs that it shows."

import platform
from importlib.metadata import version

from . import commit, settings, surroundings
from .chapters import assertions
from .facts import facts
from .markdown import container, count, table

PACKAGES = (
    "torch numpy h5py scikit-learn scipy matplotlib seaborn safetensors tensorboard tyro nbdev "
    "jupyter-book sphinx"
).split()
ABOUT = "data", "device", "versions", "case"  # parts of a record that its table says


def versions():
    import torch

    cfg, device = settings(), "CPU: no CUDA device was there"
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    rows = [
        ("the book", f"{cfg['lib_name']} {cfg['version']}"),
        ("commit", f"`{commit()}`" if commit() else "built outside of a history of git"),
        ("digest of package, results and lock", f"`{surroundings()[:12]}`"),
        ("Python", platform.python_version()),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("device", device),
        *((p, version(p)) for p in PACKAGES),
    ]
    return table(("what", "version"), rows)


def environment_of(chapter):
    return tuple(chapter.ran.get("environment", {}).items())


def environments():
    "The environments that notebooks of this edition ran in, as {its items: letter}."
    out = {}
    for c in facts().chapters.values():
        if c.ran:
            out.setdefault(environment_of(c), chr(ord("A") + len(out)))
    return out


def notebook_runs():
    chapters, known, rows = facts().chapters.values(), environments(), []
    for c in chapters:
        ran = [cell for cell in c.cells if cell.kind == "code" and cell.runs]
        rows.append(
            (
                f"[{c.name}]({c.stem}.ipynb)",
                c.ran.get("when", "not run"),
                f"{c.ran.get('seconds', 0):.1f}",
                len(ran),
                sum(assertions(cell.tree) for cell in ran),
                c.ran.get("data", ""),
                f"[{known[environment_of(c)]}](#environments)" if c.ran else "",
            )
        )
    cells, checks = (sum(r[i] for r in rows) for i in (3, 4))
    bad = sum(cell.failed for c in chapters for cell in c.cells)
    header = "notebook", "executed (UTC)", "seconds", "cells", "assertions", "data", "on"
    text = (
        f"{count(len(rows), 'notebook')} with {count(cells, 'code cell')} and "
        f"{count(checks, 'assertion')}: {count(bad, 'cell')} failed.\n\n"
        + container("notebook-runs", table(header, rows, "llrrrll"))
        + "\n(environments)=\n### Environments\n\n"
    )
    if not known or not list(known)[0]:
        return text
    names = dict(list(known)[0])
    return text + table(
        ("", *names), [(letter, *dict(items).values()) for items, letter in known.items()]
    )


# recorded runs


def run_label(name):
    return f"run-{name.lower().replace('_', '-')}"


def is_long(value):
    return len(value) > 12 or any(isinstance(v, (dict, list)) for v in value)


def flat(value, prefix=""):
    "Name and value of every leaf of nested JSON; long lists by their length."
    if isinstance(value, dict) and value:
        for k, v in value.items():
            yield from flat(v, f"{prefix}.{k}" if prefix else str(k))
    elif isinstance(value, list) and is_long(value):
        yield prefix, f"{len(value):,} {'entry' if len(value) == 1 else 'entries'}"
    elif isinstance(value, list):
        yield prefix, ", ".join(map(str, value))
    else:
        yield prefix, f"{value:.4g}" if isinstance(value, float) else value


def device_of(record):
    device = record.get("device", "")
    if isinstance(device, str):
        return device
    name = " ".join(str(device[k]) for k in ("type", "name") if device.get(k))
    threads = device.get("threads")
    return name + (f", {count(threads, 'thread')}" if threads else "")


def data_of(record):
    "The name and the splits of a record's data."
    data = record.get("data", {})
    if not isinstance(data, dict):
        return data, ""
    return data.get("name"), ", ".join(f"{k} {v:,}" for k, v in data.get("splits", {}).items())


def subject(record):
    "What was recorded, where the record does not say it."
    if "precision" in record and "rows" in record:
        return (
            f"a measurement of the training step, {record['precision']}, "
            f"{record['lengths']} lengths"
        )
    return "a recorded run"


def parts(record):
    "The rest of a record, part by part, on one line each."
    for part, value in record.items():
        if not isinstance(value, dict) or part in ABOUT or "trivial" in part:
            continue
        leaves = flat({k: v for k, v in value.items() if k != "trivial"})
        said = [
            f"`{k.removeprefix('config.')}` {v}" for k, v in leaves if v is not None and v != ""
        ]
        yield f"\n**{part.replace('_', ' ').capitalize()}**\n: {' · '.join(said)}\n"


def recorded_run(name, record):
    "A foldable block with all that a recorded run says of itself."
    f = facts()
    shown = [c for c in f.chapters.values() if any(name in f.runs_of(cell) for cell in c.cells)]
    what, (data, samples) = record.get("title") or record.get("what"), data_of(record)
    about = [
        ("what", what),
        ("data", data),
        ("samples", samples),
        ("device", device_of(record)),
        ("seed", record.get("seed")),
        ("versions", ", ".join(f"{k} {v}" for k, v in record.get("versions", {}).items())),
        ("shown in", ", ".join(f"[{c.name}]({c.stem}.ipynb)" for c in shown)),
        ("the whole record", f"{{download}}`{name}.json <../results/{name}.json>`"),
    ]
    text = table(("", ""), [(k, v) for k, v in about if v is not None and v != ""])
    said = dict.fromkeys(filter(None, (what or subject(record), data)))
    title = f"{name.replace('_', ' ')}: {', '.join(said)}"
    body = text + "".join(parts(record))
    return f"({run_label(name)})=\n:::::{{dropdown}} {title}\n\n{body}\n:::::\n"


def recorded_runs():
    "A block per recorded run: configuration, data, device, seed, versions, what it reached."
    return "\n".join(recorded_run(*item) for item in facts().runs().items()) or "There is none.\n"
