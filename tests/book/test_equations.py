"Equations carry their paper: how tags, mentions and proofs name them, in a chapter of each kind."

import pytest

from book import links, reader
from book.equations import Equation, mentioned, mentions, proved, tagged


def of(paper, *numbers):
    return {Equation(paper, n) for n in numbers}


def test_an_equation_is_named_with_its_paper_unless_it_is_carats():
    ours, theirs = Equation("CARAT", 6), Equation("ML-GCN", 3)
    assert (str(ours), ours.tag, ours.target) == ("Eq. 6", "6", "eq-6")
    assert (str(theirs), theirs.tag, theirs.target) == ("ML-GCN Eq. 3", "ML-GCN 3", "eq-ml-gcn-3")
    assert tagged("6") == tagged("CARAT 6") == ours and tagged("ML-GCN 3") == theirs
    for other in ("tailor 3", "tailor:3", "3a", "", "TAILOR"):
        with pytest.raises(ValueError, match="TAILOR 3"):
            tagged(other)


@pytest.mark.parametrize(
    "text, found",
    [
        ("Eq. 6, Eq. 7 and the queue", of("CARAT", 6, 7)),
        ("Eq. 11 to 14; Eqs. 2, 3 and 17", of("CARAT", 11, 12, 13, 14, 2, 3, 17)),
        ("Eq. 11 to Eq. 14", of("CARAT", 11, 12, 13, 14)),
        ("Eq. 40, Table 4, equation", set()),
        ("TAILOR Eq. 3 and 4, as CARAT's Eq. 6", of("TAILOR", 3, 4) | of("CARAT", 6)),
        ("TAILOR Eq. 3 and Eq. 6", of("TAILOR", 3) | of("CARAT", 6)),
        ("MulT's Eqs. 2 to 4; ML-GCN\nEq. 1", of("MulT", 2, 3, 4) | of("ML-GCN", 1)),
        ("TAILOR, Eq. 3", of("CARAT", 3)),
        ("By Eq. 3 of 5 % of 3.5", of("CARAT", 3)),
    ],
)
def test_equations_are_found_in_prose(text, found):
    assert mentioned(text) == found


def test_a_number_without_a_name_is_the_chapters_papers():
    text = "Eq. 3 and 40, CARAT Eq. 6, MISA Eq. 2"
    assert mentioned(text, "TAILOR") == of("TAILOR", 3, 40) | of("CARAT", 6) | of("MISA", 2)
    found = [(text[a:b], str(e)) for a, b, e, _ in mentions(text, "TAILOR")]
    assert found == [
        ("Eq. 3", "TAILOR Eq. 3"),
        ("40", "TAILOR Eq. 40"),
        ("CARAT Eq. 6", "Eq. 6"),
        ("MISA Eq. 2", "MISA Eq. 2"),
    ]


def test_what_a_proof_names():
    assert proved(" 6 7") == proved("6, 7") == [Equation("CARAT", 6), Equation("CARAT", 7)]
    assert proved("3", "TAILOR") == proved("TAILOR 3") == [Equation("TAILOR", 3)]
    assert set(proved("TAILOR 3, 4 CARAT 6")) == of("TAILOR", 3, 4) | of("CARAT", 6)
    for wrong in ("tailor 3", "", "the loop"):
        with pytest.raises(ValueError, match="names no equation"):
            proved(wrong)


def test_the_reader_sets_number_and_target():
    text = reader.with_equations(
        "before\n\n$$\na = b \\tag{4}\n$$\n\n```\n$$x \\tag{5}$$\n```\n$$c = d$$\n"
    )
    assert "(eq-4)=" in text and r"\begin{equation}a = b\tag{4}\end{equation}" in text
    assert r"$$x \tag{5}$$" in text and "$$c = d$$" in text
    assert r"\begin{split}a\\b\end{split}" in reader.with_equations("$$\na\\\\b\n\\tag{6}\n$$")
    text = reader.with_equations("$$\na = b \\tag{TAILOR 3}\n$$")
    assert "(eq-tailor-3)=" in text
    assert r"\begin{equation}a = b\tag{TAILOR 3}\end{equation}" in text


HALF = '#| export\ndef half(x):\n    "Eq. 4: a half."\n    return x / 2'
OURS = (("m", "$$y = x / 2 \\tag{4}$$"), ("c", HALF), ("c", "#| proves: 4\nassert half(2) == 1"))
THIRD = '#| export\ndef third(x):\n    "Eq. 4: a third, as CARAT Eq. 5 is not."\n    return x / 3'
THEIRS = (
    ("m", "By Eq. 4:\n\n$$y = x / 3 \\tag{TAILOR 4}$$"),
    ("c", THIRD),
    ("c", "#| proves: 4\nassert third(3) == 1"),
    ("c", "#| proves: TAILOR 4\nassert third(6) == 2"),
)


def test_papers_with_the_same_number_are_kept_apart(trial):
    f = trial(**{"21_ours": OURS, "50_tailor": THEIRS})
    ours, theirs = Equation("CARAT", 4), Equation("TAILOR", 4)
    assert f.wrong == [] and f.papers == ["CARAT", "TAILOR"]
    assert f.of_paper("CARAT") == [ours] and f.of_paper("TAILOR") == [theirs]
    assert [d.name for d in f.equations[ours].symbols] == ["half"]
    assert [d.name for d in f.equations[theirs].symbols] == ["third"]
    assert [c.chapter for c in f.equations[ours].proofs] == ["21_ours"]
    assert [c.chapter for c in f.equations[theirs].proofs] == ["50_tailor"] * 2
    assert f.chapters["21_ours"].paper == "CARAT" and f.chapters["50_tailor"].paper == "TAILOR"


@pytest.mark.parametrize(
    "cells, said",
    [
        (OURS[1:], "proves Eq. 4, which no chapter has"),
        (
            [*THEIRS, ("c", "#| proves: CARAT 4\nassert third(3) == 1")],
            "proves Eq. 4, which no chapter has",
        ),
        ([*OURS, ("c", "#| proves: tailor 4\nassert half(2) == 1")], "names no equation"),
        ([*OURS, OURS[0]], "tags Eq. 4, and so does nbs/98_trial.ipynb"),
        ([*OURS, ("m", "$$y \\tag{tailor:4}$$")], "a tag that names no equation"),
        ([*OURS, ("m", "$$y \\tag{18}$$")], "tags Eq. 18, and the paper has 17"),
    ],
)
def test_wrong_names_are_refused(trial, cells, said):
    assert any(said in w and "98_trial" in w for w in trial(*cells).wrong)


def test_of_another_paper_a_part_is_enough_but_each_has_symbol_and_proof(trial):
    f = trial(*THEIRS[:1])
    assert "TAILOR Eq. 4 has no proof: no cell says `#| proves: TAILOR 4`" in f.problems()
    assert "TAILOR Eq. 4 has no exported symbol: no docstring in 98_trial names it" in f.problems()
    others = [p for p in trial(*THEIRS).problems() if "TAILOR" in p]
    assert others == []


SYMBOLS = "| symbol | meaning |\n| --- | --- |\n| ${}$ | {} |"


def test_symbols_with_an_index_are_known_within_their_paper(trial, monkeypatch):
    ours = [*OURS, ("m", SYMBOLS.format("Q_o", "ours"))]
    theirs = [*THEIRS, ("m", SYMBOLS.format("P_o", "theirs"))]
    f = trial(**{"21_ours": ours, "22_ours": [("m", "x")], "50_tailor": theirs})
    monkeypatch.setattr(links, "facts", lambda: f)
    links.symbols_in.cache_clear()
    assert set(links.symbols_in("22_ours")) == {"Q_o"}
    assert set(links.symbols_in("50_tailor")) == {"P_o"}
    links.symbols_in.cache_clear()
