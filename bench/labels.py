"""Count in the real label tables what chapters 10, 11 and 85 say of them, and record the numbers.

    python bench/labels.py FOLDER [--out results]

FOLDER holds `mosei_text_emotions_{train,valid}.csv`, `m3ed_utterance_emotions.csv`, or both. Each
gives one file of aggregate numbers, `labels_mosei.json` and `labels_m3ed.json`: no utterance, no
transcript and no name goes into them. `mosei_real_{train,valid}.h5` beside the tables, where they
are there, add the share of utterances that have each modality.
"""

import argparse
import csv
import itertools
import json
import platform
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

import carat
from carat.core import CaratError, guarded, write_whole
from carat.data.benchmarks import (
    COUNTS,
    LABELS,
    M3ED_COUNTS,
    M3ED_LABELS,
    MAX_UTTERANCES,
    MODALITIES,
)
from carat.metrics import best_constant_set, choose_threshold, mean_jaccard, micro_scores

MOSEI_SPLITS = ("train", "valid")  # the labels of test are not in the tables
PRIOR_WEIGHT = 4  # utterances that the shares of train count for, beside those of a video


def rows_of(path: Path, columns: Sequence[str]) -> list[dict]:
    "The rows of a table. Raises CaratError where a column is missing or the table is empty."
    csv.field_size_limit(1 << 24)
    with guarded(f"cannot read {path}", "Copy the table again."):
        with open(path, encoding="utf-8", newline="") as f:
            rows = list(csv.DictReader(f))
    lacking = [c for c in columns if c not in (rows[0] if rows else ())]
    if lacking:
        raise CaratError(f"{path} has no column '{lacking[0]}'. Copy the table again.")
    return rows


def record(title: str, data: str, samples: dict, **found) -> dict:
    "What every record says of itself, and the numbers."
    versions = {
        "carat": carat.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    data = {"name": data, "splits": samples}
    return {"format": 1, "title": title, "data": data, "versions": versions, **found}


# MOSEI


def read_mosei(path: Path) -> dict:
    "Intensities in thirds (N, 6), videos (N,) and words (N,) of a split."
    rows = rows_of(path, ("video_id", "text", *LABELS))
    intensity = np.array([[float(row[c]) for c in LABELS] for row in rows])
    return {
        "intensity": intensity,
        "video": np.unique([row["video_id"] for row in rows], return_inverse=True)[1],
        "names": {row["video_id"] for row in rows},
        "words": np.array([len(row["text"].split()) for row in rows]),
        "texts": [" ".join(row["text"].split()) for row in rows],
    }


def intensities(splits: dict) -> dict:
    "How many positive labels of each emotion have which intensity, in thirds."
    v = np.concatenate([s["intensity"] for s in splits.values()])
    thirds = np.rint(v * 3).astype(int)
    kept = np.minimum(thirds, 4)
    return {
        "positive": (thirds > 0).sum(0).tolist(),
        "by_thirds": [(kept == k).sum(0).tolist() for k in (1, 2, 3, 4)],  # the last: and more
        "no_multiple_of_a_third": float((np.abs(v * 3 - thirds) > 0.01).mean()),
    }


def constant(row: np.ndarray, y: np.ndarray) -> dict:
    "Acc and micro-F1 of a predictor that always chooses the same set."
    p = np.broadcast_to(row, y.shape)
    return {"acc": mean_jaccard(y, p), "f1": micro_scores(y, p)[2]}


def cut_at(splits: dict, thirds: int) -> dict:
    "The labels where an emotion counts from some thirds on, and the best constant set of train."
    y = {k: s["intensity"] > (thirds - 0.5) / 3 for k, s in splits.items()}
    best = best_constant_set(y["train"])
    return {
        "thirds": thirds,
        "labels_per_utterance": float(y["train"].sum(1).mean()),
        "none": float((y["train"].sum(1) == 0).mean()),
        "best_constant": [c for c, on in zip(LABELS, best, strict=True) if on],
        "f1_valid": constant(best, y["valid"])["f1"],
    }


def from_neighbours(y: np.ndarray, video: np.ndarray, prior: np.ndarray) -> np.ndarray:
    "Scores (N, C): the mean labels of the video's other utterances, drawn towards the prior."
    in_video = np.stack([np.bincount(video, column) for column in y.T], 1)  # (videos, C)
    others = (np.bincount(video)[video] - 1)[:, None]
    return (in_video[video] - y + PRIOR_WEIGHT * prior) / (others + PRIOR_WEIGHT)


def neighbours(train: dict, valid: dict) -> dict:
    "What the labels of a video's other utterances give away on valid, beside the best constant."
    prior, y = (train["intensity"] > 0).mean(0), (valid["intensity"] > 0).astype(int)
    s, chosen = from_neighbours(y, valid["video"], prior), np.zeros(y.shape, bool)
    for half in (valid["video"] % 2 == 0, valid["video"] % 2 == 1):  # threshold from the other half
        chosen[half] = s[half] > choose_threshold(y[~half], s[~half])
    best = best_constant_set(train["intensity"] > 0)
    return {
        "shared_videos": len(train["names"] & valid["names"]),
        "constant": constant(best, y),
        "neighbours": {"acc": mean_jaccard(y, chosen), "f1": micro_scores(y, chosen)[2]},
    }


def repeated(split: dict) -> dict:
    "How many utterances have the words of another one, and how many of them other labels than it."
    same = {}
    for text, row in zip(split["texts"], split["intensity"] > 0, strict=True):
        same.setdefault(text, []).append(tuple(row))
    groups = [sets for sets in same.values() if len(sets) > 1]
    return {
        "utterances": sum(map(len, groups)),
        "with_other_labels": sum(sets.count(s) < len(sets) for sets in groups for s in sets),
        "most": max(map(len, groups), default=0),
    }


def presence(path: Path) -> dict:
    "The share of utterances that have each modality."
    with guarded(f"cannot read {path}", "Copy the file again."):
        with h5py.File(path, "r", locking=False) as f:
            return {m: float((np.diff(f[f"{m}/offsets"][:]) > 0).mean()) for m in MODALITIES}


def count_mosei(folder: Path) -> dict:
    "The record of MOSEI's labels. Raises CaratError for another split than the official one."
    splits = {}
    for k in MOSEI_SPLITS:
        path = folder / f"mosei_text_emotions_{k}.csv"
        splits[k] = read_mosei(path)
        sets = (splits[k]["intensity"] > 0) @ (1 << np.arange(5, -1, -1))
        if not np.array_equal(np.bincount(sets, minlength=64), COUNTS[k]["sets"]):
            raise CaratError(f"{path}: the label sets are not those of MOSEI's official split.")
    real = {k: folder / f"mosei_real_{k}.h5" for k in splits}
    return record(
        "counts over the real labels of MOSEI",
        "MOSEI",
        {k: len(s["video"]) for k, s in splits.items()},
        intensity=intensities(splits),
        cuts=[cut_at(splits, thirds) for thirds in (1, 2, 3)],
        video=neighbours(splits["train"], splits["valid"]),
        words={k: float(s["words"].mean()) for k, s in splits.items()},
        repeated={k: repeated(s) for k, s in splits.items()},
        presence={k: presence(path) for k, path in real.items() if path.exists()},
    )


# M3ED


def read_m3ed(path: Path) -> dict:
    "{split: dialogues}, each a list of (emotion, speaker)."
    dialogues = {}
    for row in rows_of(path, ("split", "dialog_id", "speaker_ab", "emotion")):
        talk = dialogues.setdefault(row["split"], {}).setdefault(row["dialog_id"], [])
        talk.append((M3ED_LABELS.index(row["emotion"]), row["speaker_ab"]))
    return {split: list(talks.values()) for split, talks in dialogues.items()}


def check_m3ed(path: Path, dialogues: dict):
    "Raise CaratError where the annotation does not have the label sets and lengths of the book."
    for split, known in M3ED_COUNTS.items():
        talks = dialogues.get(split, [])
        sets = [sum(1 << (6 - c) for c in {c for c, _ in talk}) for talk in talks]
        lengths = np.bincount([len(talk) for talk in talks], minlength=98)
        same = np.array_equal(np.bincount(sets, minlength=128), known["sets"])
        if not same or not np.array_equal(lengths, np.bincount(*known["lengths"], 98)):
            raise CaratError(
                f"{path}: the dialogues of {split} are not those of the official split."
            )


def same_within(talks: list) -> float:
    "The probability that two different utterances of a dialogue share their emotion, as pairs go."
    same = total = 0.0
    for talk in talks:
        n, counts = len(talk), np.bincount([c for c, _ in talk], minlength=7)
        if n > 1:  # each of the n - 1 neighbouring pairs, were the order of the dialogue random
            same += (n - 1) * (counts * (counts - 1)).sum() / (n * (n - 1))
            total += n - 1
    return same / total


def count_m3ed(folder: Path) -> dict:
    "The record of M3ED's annotation: what its counts of label sets and lengths leave out."
    path = folder / "m3ed_utterance_emotions.csv"
    dialogues = read_m3ed(path)
    check_m3ed(path, dialogues)
    talks = [talk for split in M3ED_COUNTS for talk in dialogues[split]]
    pairs = [(a, b) for talk in talks for a, b in itertools.pairwise(talk)]
    sets = [{c for c, _ in talk} for talk in talks]
    kept = [{c for c, _ in talk[:MAX_UTTERANCES]} for talk in talks]
    lengths = [len(talk) for talk in talks]
    return record(
        "counts over the published annotation of M3ED",
        "M3ED",
        {split: len(dialogues[split]) for split in M3ED_COUNTS},
        same_emotion=float(np.mean([a[0] == b[0] for a, b in pairs])),
        same_emotion_if_shuffled=same_within(talks),
        same_speaker=float(np.mean([a[1] == b[1] for a, b in pairs])),
        # the last digits of a correlation differ between processors
        length_and_labels=round(float(np.corrcoef(lengths, [len(s) for s in sets])[0, 1]), 12),
        labels_past_the_cut=sum(len(s - k) for s, k in zip(sets, kept, strict=True)),
        labels=sum(len(s) for s in sets),
    )


RECORDS = {
    "labels_mosei": ("mosei_text_emotions_train.csv", count_mosei),
    "labels_m3ed": ("m3ed_utterance_emotions.csv", count_m3ed),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="holds the tables of labels")
    parser.add_argument("--out", type=Path, default=Path("results"), help="where the records go")
    a = parser.parse_args()
    found = {name: how for name, (file, how) in RECORDS.items() if (a.folder / file).exists()}
    if not found:
        parser.error(f"{a.folder} holds none of the tables that this program reads")
    for name, how in found.items():
        path = a.out / f"{name}.json"
        write_whole(path, json.dumps(how(a.folder), indent=1) + "\n")
        print(path)


if __name__ == "__main__":
    main()
