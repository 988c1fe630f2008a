"""What kills what: a proof kills every mutant of the equations, by the record, and where code has
changed, once more. `python -m book.mutants` records the results anew."""

import ast
import json
from functools import lru_cache

import pytest

from book import facts, module_file, mutants
from book.equations import CARAT, NUMBERS, Equation
from book.needed import changed, names, needed

DECLARED = mutants.declared()
MUTATED = {m.chapter for m in DECLARED}  # proofs that notice them may be in other chapters


@pytest.mark.parametrize("stem", sorted({*mutants.proving_chapters(), *MUTATED}))
def test_no_mutant_survives(stem):
    found = mutants.check(stem)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("number", NUMBERS)
def test_each_equation_has_five_mutants_of_several_kinds(number):
    found = [m for m in DECLARED if Equation(CARAT, number) in m.equations]
    assert len(found) >= 5 and len({m.kind for m in found}) >= 3


def test_mutants_are_code_and_differ():
    assert len({m.key for m in DECLARED}) == len(DECLARED)
    assert {m.kind for m in DECLARED} <= set(mutants.KINDS)
    for mutant in DECLARED:
        source = mutants.place(mutant).source
        assert ast.dump(ast.parse(mutant.applied(source))) != right(source), mutant.key
        module = module_file(mutants.module_of(mutant)).read_text("utf-8")
        assert mutant.applied(module) != module  # once in it, too


@lru_cache(None)
def right(source):
    return ast.dump(ast.parse(source))


def test_the_record_names_cells_and_mutants_that_exist():
    keys = {m.key for m in DECLARED}
    for stem, entries in mutants.record().items():
        ids = {c.id for c in mutants.chapter_of(stem).cells}
        assert set(entries) <= keys
        for key, entry in entries.items():
            assert set(entry["killed by"]) <= ids, (stem, key)


def mutant(old, new="0", within=None):
    return mutants.Mutant("98_trial", (), "sign", "it is wrong", old, new, within)


CODE = """class Half:
    def one(self, x):
        return x / 2 + self.more(
            x,  # a comment
            mask[..., None],
        )

    def other(self, x):
        return x / 2
"""


def test_code_is_found_however_it_is_laid_out():
    assert "return 0 + self" in mutant("x / 2", within="Half.one").applied(CODE)
    assert mutant("return x/2 + self.more(").applied(CODE).count("x / 2") == 1
    assert "mask[0]" in mutant("..., None").applied(CODE)
    for old, within, times in (("x / 2", None, 2), ("elf", None, 0), ("x / 2", "Half", 2)):
        with pytest.raises(mutants.Misplaced, match=f"occurs {times} times"):
            mutant(old, within=within).applied(CODE)


def test_an_entry_is_read_and_a_wrong_one_is_refused():
    text = "mask, Eq. 2 and 17, in Half.one: a source: it is read\n- x\n+ y\n+ z"
    read = mutants.entry("98_trial", text)
    assert read.equations == (Equation(CARAT, 2), Equation(CARAT, 17)) and read.kind == "mask"
    assert (read.old, read.new, read.within) == ("x", "y\nz", "Half.one")
    assert read.mistake == "a source: it is read"
    for wrong in ("colour: it is red\n- x\n+ y", "mask: nothing is read", "mask\n- x\n+ y"):
        with pytest.raises(ValueError, match="cannot be read"):
            mutants.entry("98_trial", wrong)


def test_what_a_cell_does_is_neither_layout_nor_comment_nor_figure():
    first = mutants.code_of('def f(x):\n    "Half."\n    return x / 2  # (B,)\n\n\nplots.show(1)')
    assert first == mutants.code_of('def f(x):\n    """A half."""\n\n    return (x / 2)')
    assert first != mutants.code_of("def f(x):\n    return x / 3")


def test_a_cell_needs_what_it_uses_and_what_changes_that(cells):
    def taken(*sources):
        *_, last = made = [c for c in cells(*(("c", s) for s in sources)).cells]
        return [c.source for c in needed(made, [last])]

    a, b, c = "import torch", "x = torch.ones(2)", "y = [x for x in range(3)]"
    assert taken(a, b, c, "assert x.any()") == [a, b, "assert x.any()"]
    f, g = "def f(u):\n    x = u\n    return x", "x = 2"
    assert taken(g, f, "f(1)") == [f, "f(1)"]
    assert taken("m = M()", "m.weight = 1", "m.go()") == ["m = M()", "m.weight = 1", "m.go()"]
    assert taken("w = W()", "nn.init.zeros_(w.a)", "w") == ["w = W()", "nn.init.zeros_(w.a)", "w"]
    f, g = "def f():\n    return g()", "def g():\n    return 1"
    assert taken(f, "other = 1", g, "f()") == [f, g, "f()"]
    assert changed(ast.parse("a.b[0] = 1\nc.d()\ne.f_(g.h)")) == {"a", "c", "e", "g"}
    assert names("total += 1")[1] == {"total"}
    assert names("a = 1\nfor b in c:\n    a + b\ndef f():\n    return d + e\nd = 2")[1] == {
        "c",
        "e",
    }


MADE = [
    ("m", "$$y = x / 2 \\tag{4}$$"),
    ("c", '#| export\ndef half(x):\n    "Eq. 4"\n    return x / 2'),
    ("c", "#| proves: 4\nassert half(2) == 1"),
    ("c", "#| proves: 4\nassert half(0) == 0"),
]


def test_a_cell_that_kills_no_mutant_is_a_property(trial, monkeypatch, tmp_path):
    wrong = mutants.Mutant(
        "98_trial", (Equation(CARAT, 4),), "sign", "it doubles", "x / 2", "x * 2"
    )
    monkeypatch.setattr(mutants, "declared", lambda: [wrong])
    monkeypatch.setattr(mutants, "RECORDED", tmp_path / "mutants.json")
    chapter = trial(*MADE).chapters["98_trial"]
    first, second = (c for c in chapter.cells if c.proves)

    def facts_with(*ids):
        found = {"98_trial": {wrong.key: {"state": "", "killed by": dict.fromkeys(ids, "E")}}}
        mutants.RECORDED.write_text(json.dumps(found))
        mutants.read_record.cache_clear()
        f = facts.Facts()
        return f, f.equations[Equation(CARAT, 4)]

    f, e = facts_with(first.id)
    assert (e.proofs, e.properties, e.cells) == ([first], [second], [first, second])
    assert not any(p.startswith("Eq. 4 ") for p in f.problems())
    f, e = facts_with()
    assert (
        e.proofs == [] and "Eq. 4 has no proof: no cell notices one of its mutants" in f.problems()
    )
    mutants.read_record.cache_clear()
