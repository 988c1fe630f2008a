"Padding, values that are not finite, and the report of an importer."

import numpy as np
import pytest
from hostile import message

from carat.data.report import Report, clean, padding_side, strip, zero_edges


def test_clean():
    x = np.array([[1, -np.inf, 2], [np.nan, np.inf, np.inf]], "f4")
    y, counts = clean(x)
    assert (
        counts == (1, 2, 1)
        and y.tolist() == [[1, 0, 2], [0, 0, 0]]
        and y.dtype == x.dtype
        and np.isneginf(x[0, 1])
    )
    assert clean(y)[0] is y and clean(y)[1] == (0, 0, 0)


def test_strip():
    x = np.zeros((4, 5, 2))
    x[0, :3], x[1, :5], x[3, :1] = 1, 2, 3
    x[0, 1] = x[1, 0] = 0  # zero in the middle, and at the side that is not padded
    values, lengths, side = strip(x)
    assert (
        side == "right"
        and lengths.tolist() == [3, 5, 0, 1]
        and np.array_equal(values, np.concatenate([x[0, :3], x[1], x[3, :1]]))
    )
    values, lengths, side = strip(x[:, ::-1])
    assert (
        side == "left"
        and lengths.tolist() == [3, 5, 0, 1]
        and np.array_equal(values, np.concatenate([x[0, 2::-1], x[1, ::-1], x[3, :1]]))
    )
    assert strip(x, "none")[1].tolist() == [5, 5, 0, 5]
    assert strip(np.zeros((3, 4, 2)))[1:] == (pytest.approx([0, 0, 0]), "none") and strip(
        np.zeros((0, 4, 2))
    )[0].shape == (0, 2)
    x = np.full((1, 3, 1), np.nan)
    assert strip(x)[1].tolist() == [3]  # a value that is not finite is not padding
    first, last = zero_edges(np.ones((2, 3, 1)))
    assert padding_side(first, last, 3) == "none"


def test_report(tmp_path):
    (tmp_path / "f.pt").write_bytes(b"x" * 2000)
    r = Report("a format", [tmp_path / "f.pt", tmp_path])
    for part in (slice(0, 2), slice(2, 4)):
        r.count_labels("train", np.array([[1, 0], [0, 0], [2, 1], [0, 1]])[part], ["joy", "awe"])
        r.count_lengths("train", "t", np.array([3, 0, 7, 1])[part])
        r.nonfinite("train", "t", 1, 0, 2)
    r.split("train")["rows"], r.split("train")["own"] = 4, {"any": ["thing"]}
    r.split("train")["paired"] = {"with the same row": 1202, "with another": 1}
    assert r.padding("train", "t", np.array([0, 5, 1]), np.array([2, 5, 0]), 5) == "right"
    r.note("Once."), r.note("Once.")
    v = Report.from_json(r.to_json())
    assert (
        v.to_json() == r.to_json()
        and v.splits["train"]["labels"] == {"joy": 2, "awe": 2}
        and v.splits["train"]["without label"] == 1
        and v.notes == ["Once."]
    )
    assert v.splits["train"]["lengths"]["t"] == {
        "present": 3,
        "missing": 1,
        "steps": 11,
        "shortest": 1,
        "longest": 7,
    }
    for word in (
        "a format",
        "f.pt (2.0 kB)",
        "train: 4 samples",
        "joy 2",
        "without any 1",
        "1 to 7 steps, 3.7",
        "missing in 1 sample",
        "-inf 2, nan 4",
        "padded on the right",
        "before 1 sample (1 row), after 1 sample (2 rows)",
        "thing",
        "  paired: 1,202 with the same row, 1 with another\n",
        "- Once.",
    ):
        assert word in str(r) and word in str(v), word
    assert (
        r.save(tmp_path / "mosei.h5") == tmp_path / "mosei.report.json"
        and Report.from_json((tmp_path / "mosei.report.json").read_text()).to_json() == r.to_json()
    )
    for bad in (
        "",
        "{}",
        "[]",
        "null",
        r.to_json()[:50],
        '{"format": 1, "files": [{}], "splits": {}, "notes": []}',
        "[" * 100000,
    ):
        assert "report" in message(Report.from_json, bad)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.pt", "mosei.report.json"]
