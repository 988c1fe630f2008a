"Each peer's chapter says where the system stands in the recorded Table 1 of this book."

import re

import pytest

from book import ROOT, read_notebook
from carat.results import recorded
from carat.study.tables import from_record

CHAPTERS = {
    "45_binary_relevance": ("br", "BR"),
    "46_label_powerset": ("lp", "LP"),
    "47_classifier_chain": ("cc", "CC"),
    "49_sgm": ("sgm", "SGM"),
    "50_lsan": ("lsan", "LSAN"),
    "51_ml_gcn": ("ml_gcn", "ML-GCN"),
    "53_mult": ("mult", "MulT"),
    "54_misa": ("misa", "MISA"),
    "55_mms2s": ("mms2s", "this system"),
    "56_hhmpn": ("hhmpn", "HHMPN"),
    "57_tailor": ("tailor", "TAILOR"),
    "58_amp": ("amp", "AMP"),
}
UNDECIDED, WORSE = "not told apart", "worse"
SENTENCES = {
    (UNDECIDED, UNDECIDED): (
        "In our runs {name}'s micro-F1 cannot be told apart from CARAT's on real MOSEI "
        "({real}) or on a synthetic twin of it ({twin})."
    ),
    (UNDECIDED, WORSE): (
        "In our runs on real MOSEI {name}'s micro-F1 cannot be told apart from CARAT's ({real}); "
        "on a synthetic twin of it {name} is worse ({twin})."
    ),
    (WORSE, WORSE): (
        "In our runs {name}'s micro-F1 is worse than CARAT's, on real MOSEI ({real}) and on a "
        "synthetic twin of it ({twin})."
    ),
}


def standing(store, kind):
    "The verdict on a system, and its mean micro-F1 against CARAT's."
    lines = {line.row: line for line in from_record(recorded("table1.json")["table1"], store).lines}
    rows = lines.get(kind) or lines[f"{kind}_clock"], lines["carat"]
    scores = [f"{row.mean('f1')['mean']:.3f}" for row in rows]
    return rows[0].verdict, " against ".join(scores)


@pytest.mark.parametrize("stem", CHAPTERS)
def test_the_summary_has_the_recorded_scores_and_verdicts(stem):
    kind, name = CHAPTERS[stem]
    (on_real, real), (on_twin, twin) = standing("mosei", kind), standing("twin", kind)
    expected = SENTENCES[on_real, on_twin].format(name=name, real=real, twin=twin)
    cells = ["".join(cell["source"]) for cell in read_notebook(ROOT / f"nbs/{stem}.ipynb")["cells"]]
    summary = next(text for text in cells if "## What we learned" in text)
    said = re.findall(r"^\* In our runs.*$", summary, re.M)
    assert len(said) == 1 and said[0].startswith(f"* {expected} "), f"{expected}\nfound: {said}"
    assert "[Chapter 65](65_does_it_hold.ipynb)" in summary
