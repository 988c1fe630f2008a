"The counts of real labels: their formulas on small tables, and the records where data are at hand."

import json
import os
from pathlib import Path

import numpy as np
import pytest

from bench import labels
from carat.core import CaratError
from carat.data.benchmarks import LABELS
from carat.results import recorded


def mosei(folder, split, rows):
    lines = [",".join(["video_id", "text", *LABELS])]
    lines += [",".join([video, text, *map(str, values)]) for video, text, values in rows]
    path = folder / f"mosei_text_emotions_{split}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_intensities_are_counted_in_thirds(tmp_path):
    rows = [("a", "one two", [0.3333333, 0, 2, 0, 0, 0]), ("b", "one", [0.6666667, 1, 0, 0, 0, 0])]
    split = labels.read_mosei(mosei(tmp_path, "train", rows))
    assert split["words"].tolist() == [2, 1] and split["names"] == {"a", "b"}
    found = labels.intensities({"train": split})
    assert found["positive"] == [2, 1, 1, 0, 0, 0] and found["no_multiple_of_a_third"] == 0
    assert [row[:3] for row in found["by_thirds"]] == [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    cut = labels.cut_at({"train": split, "valid": split}, 2)
    assert cut["labels_per_utterance"] == 1.5 and cut["best_constant"] == ["happy", "sad", "anger"]


def test_neighbours_do_not_see_the_utterance_itself():
    y, video = np.array([[1, 0], [0, 1], [1, 1]]), np.array([0, 0, 1])
    s = labels.from_neighbours(y, video, np.array([0.5, 0.25]))
    assert s.tolist() == [[2 / 5, 2 / 5], [3 / 5, 1 / 5], [0.5, 0.25]]


def test_pairs_of_a_shuffled_dialogue():
    talk = [(0, "A"), (0, "B"), (1, "A")]  # one of three pairs is alike, whatever the order
    assert labels.same_within([talk]) == pytest.approx(1 / 3)
    assert labels.same_within([talk, [(2, "A")] * 5]) == pytest.approx((2 / 3 + 4) / 6)


def test_other_tables_are_refused(tmp_path):
    rows = [("a", "one", [1, 0, 0, 0, 0, 0])]
    mosei(tmp_path, "train", rows)
    with pytest.raises(CaratError, match="not those of MOSEI's official split"):
        labels.count_mosei(tmp_path)
    (tmp_path / "m3ed_utterance_emotions.csv").write_text("split,emotion\ntrain,Sad\n")
    with pytest.raises(CaratError, match="no column 'dialog_id'"):
        labels.count_m3ed(tmp_path)


@pytest.mark.parametrize("name", labels.RECORDS)
def test_the_records_are_what_the_tables_give(name):
    file, how = labels.RECORDS[name]
    folder = Path(os.environ.get("CARAT_DATA") or "../shared/data")
    if not (folder / file).exists():
        pytest.skip(f"{file} is not in {folder}: nothing to count")
    found, kept = how(folder), recorded(f"{name}.json")[name]
    found, kept = (dict(v) for v in (json.loads(json.dumps(found)), kept))
    found.pop("versions"), kept.pop("versions")
    if not found.get("presence", True):  # the features are not beside the tables
        found.pop("presence"), kept.pop("presence")
    assert found == kept
