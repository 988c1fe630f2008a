"""The reference of the package, a page per module, made from the package and the notebooks.

A page holds every public name with its parameters, errors, origin, and an example that ran."""

import ast
import importlib
import inspect
import re
import textwrap

from . import API, ROOT, modules
from .examples import returned
from .facts import facts
from .markdown import container, count, reference, table

QUALIFIERS = re.compile(
    r"\b(?:carat(?:\.\w+)+|typing|collections\.abc|pathlib(?:\._local)?|torch\.nn\.modules\.module)\."
)
EMPTY = inspect.Parameter.empty
CONSTANTS = int, float, str, bool, tuple, type(None), dict, list
STARS = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
FOLDERS = {
    "": "what all parts share, and the command line",
    "study": "many runs",
    "train": "one run",
    "systems": "everything that can be trained",
    "nn": "the equations and layers that systems share",
    "data": "from files to batches",
    "plots": "figures of plain arrays",
}


# values, signatures and tables of parameters


def plain(annotation):
    "An annotation as its author would write it."
    if annotation is EMPTY:
        return ""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return QUALIFIERS.sub("", text)


def default(value):
    if value is EMPTY:
        return ""
    text = repr(value) if isinstance(value, CONSTANTS) else "..."
    return text if len(text) < 60 else "..."


def signature(f, skip_self=False):
    parts, star = [], False
    for p in list(inspect.signature(f).parameters.values())[skip_self:]:
        if p.kind is p.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        star |= p.kind is p.VAR_POSITIONAL
        given = "" if p.default is EMPTY else f"={default(p.default)}"
        parts.append(STARS.get(p.kind, "") + p.name + given)
    return f"({', '.join(parts)})"


def one_line(text):
    text = re.sub(r"\s+", " ", str(text or "")).strip()
    return text.replace("|", "\\|").replace("](", "]\\(")


def code(text):
    return f"`{text}`".replace("|", "\\|") if text else ""


def value(obj, most=160):
    "A constant as it stands, cut at an item where it is long; numbers with six digits."
    text = re.sub(r"\d+\.\d{7,}", lambda m: f"{float(m[0]):.6g}", one_line(repr(obj)))
    if len(text) <= most:
        return text
    cut = max(text.rfind(mark, 0, most) for mark in (", ", "; ", " "))
    return f"{text[:cut].rstrip(',; ')} …"


def text_of(node):
    "The text that code spells out, with dots for what is filled in."
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(text_of, node.values))
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return "…"


def is_our_error(node):
    return (
        isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and getattr(node.exc.func, "id", "") == "CaratError"
        and bool(node.exc.args)
    )


def errors(f):
    "The messages of the errors that a function raises itself."
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(f)))
    except (OSError, TypeError, SyntaxError):
        return []
    raised = [text_of(n.exc.args[0]) for n in ast.walk(tree) if is_our_error(n)]
    return [text for text in raised if text.strip("…. ")]


def message(text):
    "An error's message in a cell of a table, where nothing of it is markup."
    text = one_line(text).replace("`", "'")
    return re.sub(r"[*_${]", r"\\\g<0>", text).replace("<", "&lt;")


def comments(f):
    "The comments beside the parameters of a function, or the fields of a class and its bases."
    from fastcore.docments import docments  # only the pages need it

    out = {}
    for part in reversed(f.__mro__[:-1]) if inspect.isclass(f) else [f]:
        try:
            notes = docments(part, full=True, returns=True)
        except (OSError, TypeError):  # a class that was made by a call has no source
            continue
        out |= {name: note["docment"] for name, note in notes.items() if note.get("docment")}
    return out


def parameters(f, skip_self=False):
    "Parameters with types, defaults and the comments beside them, what is returned, the errors."
    notes, rows, signed = comments(f), [], inspect.signature(f)

    def note(name):
        return one_line(notes.get(name))

    for name, p in list(signed.parameters.items())[skip_self:]:
        rows.append((f"`{name}`", code(plain(p.annotation)), code(default(p.default)), note(name)))
    if signed.return_annotation not in (EMPTY, None):
        rows.append(("returns", code(plain(signed.return_annotation)), "", note("return")))
    if not any(any(row[1:]) for row in rows):
        rows = []
    rows += [("raises", "`CaratError`", "", message(text)) for text in errors(f)]
    return table(("name", "type", "default", "meaning"), rows) if rows else ""


# entries


def docstring(obj):
    "The docstring; formulas in backticks stay code."
    text = obj.__doc__ or ""
    if inspect.isclass(obj) and text.startswith(f"{obj.__name__}("):  # a dataclass without one
        text = ""
    return inspect.cleandoc(text).replace("_`", "\\_`") + "\n"


def function_of(member):
    "The function behind a method or a property."
    if isinstance(member, (classmethod, staticmethod)):
        return member.__func__
    if isinstance(member, property):
        return member.fget
    return getattr(member, "func", member)


def members(cls):
    "Public methods and properties that the class itself defines."
    for name, member in vars(cls).items():
        f = function_of(member)
        if not name.startswith("_") and inspect.isfunction(f) and f.__doc__:
            yield name, member, f


def method_entry(cls, full, name, member, f):
    if not callable(getattr(cls, name)):
        lines = [f"````{{py:property}} {name}", docstring(f)]
    else:
        bound = not isinstance(member, staticmethod)
        head = f"````{{py:method}} {name}{signature(f, bound)}"
        lines = [head, docstring(f), parameters(f, bound)]
    return [*lines, links(f"{full}.{name}"), "````"]


def class_entry(full, name, cls):
    own_init, error = "__init__" in vars(cls), issubclass(cls, Exception)
    signed = signature(cls.__init__, skip_self=True) if own_init and not error else ""
    out = [f"`````{{py:{'exception' if error else 'class'}}} {name}{signed}", docstring(cls)]
    if own_init and not error:
        fields = "__dataclass_fields__" in vars(cls)
        out.append(parameters(cls) if fields else parameters(cls.__init__, skip_self=True))
    out.append(links(full))
    for member in members(cls):
        out += method_entry(cls, full, *member)
    return out


def entry(module, name, obj):
    full, other = f"{module}.{name}", getattr(obj, "__name__", name)
    if other != name and other in importlib.import_module(module).__all__:  # a second name
        out = [f"`````{{py:data}} {name}", f"`{other}`\n", links(full)]
    elif inspect.isclass(obj):
        out = class_entry(full, name, obj)
    elif callable(obj):
        head = f"`````{{py:function}} {name}{signature(obj)}"
        out = [head, docstring(obj), parameters(obj), links(full)]
    else:
        out = [f"`````{{py:data}} {name}", f"`{value(obj)}`\n", links(full)]
    return "\n".join([*out, "`````", ""])


def place(cell, hidden=""):
    "A link to a cell; to its chapter where readers do not see the cell."
    chapter = facts().chapters[cell.chapter]
    if cell.hidden:
        return f"{hidden}{{doc}}`{chapter.name} </{chapter.page}>`"
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
    """The example of a definition, with what it printed.

    What only other names use has a link to one of them: their example does not show it."""
    e, through = d.example, ""
    if e.via and d.name in returned(e.via.node):
        through = f", through {reference(e.via)}"
    elif e.via:
        where = place(e.cell, "a hidden check of ")
        used = f"{reference(e.via)} uses it, and its example ran in {where}"
        return "\n" + container("api-links", used + "\n")
    text = f"An example that ran{through}, in {place(e.cell, 'a hidden check of ')}\n"
    text += f"\n```python\n{e.code}\n```\n"
    if e.output and len(e.output) < 600 and not e.via:
        text += f"\n```text\n{e.output}\n```\n"
    return "\n" + container("api-example", text)


# pages


def about(module):
    "The sentence that a module says of itself."
    return inspect.cleandoc(importlib.import_module(module).__doc__ or "").rstrip(".")


def module_page(module):
    "The page of a module."
    m = importlib.import_module(module)
    chapter = facts().chapters[modules()[module]]
    return "\n".join(
        [
            f"{about(module)}. Exported from {{doc}}`{chapter.name} </{chapter.page}>`.\n",
            f"```{{py:module}} {module}\n```\n",
            *(entry(module, name, getattr(m, name)) for name in m.__all__),
        ]
    )


def folder_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 2 else ""


def overview():
    "The modules by folder, each with its page, its sentence and its chapter."
    f, out = facts(), []
    for folder in dict.fromkeys([*FOLDERS, *map(folder_of, modules())]):
        lines = []
        for module, stem in modules().items():
            if folder_of(module) == folder:
                c = f.chapters[stem]
                page, chapter = f"`{module} </{API}/{module}>`", f"`{c.number} </{c.page}>`"
                lines.append(f"- {{doc}}{page}: {about(module)} ({{doc}}{chapter})")
        if lines:
            name = f"`carat.{folder}`" if folder else "`carat`"
            title = f": {FOLDERS[folder]}" if folder in FOLDERS else ""
            out += [f"## {name}{title}\n", *lines, ""]
    return "\n".join(out)


def write_pages():
    "Write the sources of the modules' pages, and delete those of modules that are gone."
    folder = ROOT / API
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.md"):
        if path.stem not in modules():
            path.unlink()
    for module in modules():
        path, text = folder / f"{module}.md", f"# {module}\n\n```{{made}} module {module}\n```\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
