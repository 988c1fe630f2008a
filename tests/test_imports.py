"""Imports within the package point one way, down the list below, and at public names only.

Imports inside functions count too: what is imported late is depended on all the same."""

import ast
from pathlib import Path

import pytest

from book import ROOT, package_files

# From the top down: a module may import from its own row and from the rows below it.
ROWS = [
    {"cli"},
    {"study"},
    {"train"},
    {"systems", "published"},
    {"nn"},
    {"data"},
    {"plots"},
    {"system", "batch", "metrics", "distributed", "results"},
    {"core"},
]
ROW = {name: i for i, row in enumerate(ROWS) for name in row}


def dotted(path, root):
    "carat/data/store.py as carat.data.store, and an __init__.py as its package."
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imported(tree, package):
    "The (module, name, name here) of every import; the name is None where a module is imported."
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.name, None, a.asname or a.name) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, *filter(None, [node.module])]) if node.level else node.module
            yield from ((base, a.name, a.asname or a.name) for a in node.names)


def attributes(tree):
    "The (name, attribute) pairs of a file, such as (`plots`, `show`) for `plots.show`."
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.value.id, node.attr


def edges(root):
    "What a module of the package takes from another: (module, other module, name or None)."
    files = {dotted(p, root): p for p in package_files(root)}
    for module, path in files.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for base, name, here in imported(tree, package):
            target = f"{base}.{name}"
            if base.split(".")[0] != "carat":
                continue
            if name and target not in files:
                yield module, base, name
                continue
            taken = {attribute for at, attribute in attributes(tree) if at == here}
            yield from ((module, target if name else base, a) for a in taken or {None})


def row(module):
    return ROW[module.split(".")[1]]


def pointing_up(root):
    "Imports from a higher row. `carat` itself stands above all, apart from its version."
    return {
        (module, target)
        for module, target, name in edges(root)
        if module != "carat" and name != "__version__"
        if target == "carat" or row(target) < row(module)
    }


def private(root):
    "Imports of another module's underscore names, and of modules whose names begin with one."
    return {
        (module, f"{target}.{name}" if name else target)
        for module, target, name in edges(root)
        for last in [(name or target).rpartition(".")[2]]
        if last.startswith("_") and not last.startswith("__")
    }


def test_every_module_has_its_row():
    names = {dotted(p, ROOT).split(".")[1] for p in package_files() if p.parent != ROOT / "carat"}
    names |= {p.stem for p in package_files() if p.parent == ROOT / "carat"} - {"__init__"}
    assert names <= set(ROW), "give the new modules a row"


def test_imports_point_down():
    assert not pointing_up(ROOT)


def test_no_module_imports_private_names_of_another():
    assert not private(ROOT)


@pytest.mark.parametrize(
    "line, found",
    [
        ("from ..train.loop import fit", ("carat.nn.x", "carat.train.loop")),
        ("import carat.cli", ("carat.nn.x", "carat.cli")),
        ("def f():\n    from carat.systems import carat", ("carat.nn.x", "carat.systems.carat")),
        ("from .. import train", ("carat.nn.x", "carat.train")),
        ("from carat import CARAT", ("carat.nn.x", "carat")),
    ],
)
def test_an_import_that_points_up_is_found(tmp_path, line, found):
    write(tmp_path, line)
    assert pointing_up(tmp_path) == {found}


@pytest.mark.parametrize(
    "line, found",
    [
        ("from ..core import _plain", ("carat.nn.x", "carat.core._plain")),
        ("def f():\n    from carat.core import _plain", ("carat.nn.x", "carat.core._plain")),
        ("from .. import _hidden", ("carat.nn.x", "carat._hidden")),
        ("from . import y\nz = y._part", ("carat.nn.x", "carat.nn.y._part")),
    ],
)
def test_an_import_of_a_private_name_is_found(tmp_path, line, found):
    write(tmp_path, line)
    assert private(tmp_path) == {found}


def test_imports_of_the_own_row_and_of_those_below_are_fine(tmp_path):
    write(tmp_path, "import numpy\nfrom .y import unit\nfrom ..core import CaratError as _E\n")
    assert not pointing_up(tmp_path) and not private(tmp_path)


def write(root, text):
    "A package whose module carat.nn.x has this text."
    for name in ("core", "cli", "train/loop", "systems/carat", "nn/x", "nn/y"):
        path = Path(root) / "carat" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if name == "nn/x" else "")
        (path.parent / "__init__.py").touch()
