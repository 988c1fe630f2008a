"MOSEI as people have it: both pickles, written here after the description of the formats."

import argparse
import csv
import io
import json
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from faults import damaged
from hostile import Call, Careful, message

from carat import cli
from carat.core import CaratError
from carat.data import pickles
from carat.data.benchmarks import LABELS
from carat.data.m3ed import prepare_m3ed
from carat.data.mosei import (
    Words,
    pair_utterances,
    prepare_aligned,
    prepare_mmsa,
    prepare_unaligned,
)
from carat.data.store import Store, check_store

SPLITS = ("train", "valid", "test")
NAMES = {
    "happiness": "happy",
    "sadness": "sad",
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "surprise": "surprise",
}  # from frequent to rare: not the order of the store
IDS = {"<blank>": 0, "<unk>": 1, "<s>": 2, "</s>": 3} | {
    name: 4 + i for i, name in enumerate(NAMES)
}
WIDTHS = {"t": 300, "v": 35, "a": 74}


# what was said, before anybody put it into a file


def utterances(n, seed, longest=60, widths=WIDTHS):
    rng = np.random.default_rng(seed)

    def one(i):
        steps = int(rng.integers(1, longest + 1))
        u = {m: rng.normal(size=(steps, d)).astype("f4") for m, d in widths.items()}
        if steps > 4:
            u["v"][[0, 2, steps - 1]] = 0  # words without a face, also the first and the last
        u["labels"] = sorted(
            rng.choice(sorted(NAMES.values()), rng.integers(0, 4), replace=False).tolist()
        )
        return u

    return [one(i) for i in range(n)]


def pad(v, steps, side, dtype="f4"):
    x = np.zeros((steps, v.shape[1]), dtype)
    v = v[:steps]
    x[steps - len(v) :] = v if side == "left" else 0
    if side == "right":
        x[: len(v)] = v
    return x


def aligned_file(
    data,
    form="list",
    side="right",
    dtype="f4",
    steps=60,
    keys=("src-text", "src-visual", "src-audio"),
    ids=IDS,
):
    number = {NAMES[k]: i for k, i in ids.items() if k in NAMES}
    whole = {
        s: {
            k: [pad(u[m], steps, side, dtype) for u in us] for k, m in zip(keys, "tva", strict=True)
        }
        | {"tgt": [[2, *sorted(number[c] for c in u["labels"]), 3] for u in us]}
        for s, us in data.items()
    }
    if form == "array":
        whole = {
            s: {k: v if k == "tgt" else np.stack(v) for k, v in d.items()} for s, d in whole.items()
        }
    if form == "object":

        def objects(v):
            a = np.empty(len(v), object)
            a[:] = v
            return a

        whole = {
            s: {k: v if k == "tgt" else objects(v) for k, v in d.items()} for s, d in whole.items()
        }
    if form == "tensor":
        whole = {
            s: {k: v if k == "tgt" else torch.from_numpy(np.stack(v)) for k, v in d.items()}
            for s, d in whole.items()
        }
    return whole | {
        "dict": {"src": {"the": 0}, "tgt": dict(ids)},
        "settings": argparse.Namespace(max_text_seq_len=60),
    }


def unaligned_file(
    data, kind="U", side="right", dtype="f4", words=50, steps=500, seed=9, order=None
):
    rng, out = np.random.default_rng(seed), {}
    for s, us in data.items():
        us = [us[i] for i in order[s]] if order and s in order else us
        rows = order[s] if order and s in order else range(len(us))
        lengths = rng.integers(1, steps + 1, (len(us), 2))
        out[s] = {
            "text": np.stack([pad(u["t"], words, side, dtype) for u in us]),
            "vision": np.stack(
                [
                    pad(rng.normal(size=(n, us[0]["v"].shape[1])), steps, side, dtype)
                    for n in lengths[:, 0]
                ]
            ),
            "audio": np.stack(
                [
                    pad(rng.normal(size=(n, us[0]["a"].shape[1])), steps, side, dtype)
                    for n in lengths[:, 1]
                ]
            ),
            "labels": rng.normal(size=(len(us), 1, 1)),
            "id": np.array(
                [
                    [f"vidéo-{i // 3}" if kind != "S" else f"video-{i // 3}", f"{i}.5", f"{i}.75"]
                    for i in rows
                ]
            ).astype(kind),
        }
    return out


DATA = {s: utterances(n, k) for k, (s, n) in enumerate(zip(SPLITS, (12, 5, 6), strict=True))}
SMALL = {s: utterances(4, k, 5, {"t": 6, "v": 3, "a": 4}) for k, s in enumerate(SPLITS)}


def saved(path, value, how="zip"):
    if how in ("zip", "legacy"):
        torch.save(value, path, _use_new_zipfile_serialization=how == "zip")
    else:
        Path(path).write_bytes(pickle.dumps(value, how))
    return path


def check_labels(split, us):
    assert [[c for c, v in zip(LABELS, y, strict=True) if v] for y in split.y] == [
        [c for c in LABELS if c in u["labels"]] for u in us
    ]


def check_aligned(store, data, tol=1e-3):
    for s, us in data.items():
        split, b = store[s], store[s].batch(range(len(us)))
        assert b.id == [f"{s}-{i:06d}" for i in range(len(us))]
        check_labels(split, us)
        for i, u in enumerate(us):
            for m in "tva":
                n = len(u["t"]) if u[m].any() else 0
                assert b.mask[m][i].sum() == n, (s, i, m)
                np.testing.assert_allclose(
                    b.x[m][i, :n], u[m][:n], rtol=tol, atol=tol if m == "t" else 0
                )


# the aligned file


@pytest.mark.parametrize(
    "how, form, side, dtype",
    [
        ("zip", "list", "right", "f4"),
        ("legacy", "list", "left", "f4"),
        ("zip", "array", "left", "f8"),
        ("legacy", "array", "right", "f8"),
        ("zip", "object", "right", ">f4"),
        (0, "list", "left", "f4"),
        (3, "array", "right", "f4"),
        (4, "list", "right", "f8"),
        (5, "array", "left", "f4"),
        ("zip", "tensor", "left", "f4"),
        ("legacy", "tensor", "right", "f4"),
    ],
)
def test_aligned(tmp_path, how, form, side, dtype):
    path = saved(tmp_path / "train_valid_test.pt", aligned_file(DATA, form, side, dtype), how)
    out = prepare_aligned(path, tmp_path / "out" / "s.h5", progress=False)
    store = Store(out)
    assert (
        out == tmp_path / "out" / "s.h5"
        and store.name == "MOSEI, aligned"
        and store.labels == LABELS
        and store.modalities == WIDTHS
        and store.splits == {"train": 12, "valid": 5, "test": 6}
    )
    check_store(out)
    check_aligned(store, DATA)
    report = json.loads(store.attrs["report"])
    assert json.loads(
        (tmp_path / "out" / "s.report.json").read_text(encoding="utf-8")
    ) == report and sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "s.h5",
        "s.report.json",
    ]
    assert report["files"] == [
        {"name": "train_valid_test.pt", "bytes": path.stat().st_size}
    ] and not any(str(tmp_path) in v for v in (store.attrs["report"], str(store.attrs)))
    r = report["splits"]["train"]
    assert (
        r["rows"] == 12
        and r["labels"]["sad"] == sum("sad" in u["labels"] for u in DATA["train"])
        and r["without label"] == sum(not u["labels"] for u in DATA["train"])
    )
    assert r["padding"]["t"]["side"] == side and r["lengths"]["t"]["longest"] == max(
        len(u["t"]) for u in DATA["train"]
    )
    padded = r["padding"]["t"]["after" if side == "right" else "before"]
    assert padded == {
        "samples": sum(len(u["t"]) < 60 for u in DATA["train"]),
        "rows": sum(60 - len(u["t"]) for u in DATA["train"]),
    }


def test_in_blocks_of_one(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "_BLOCK", 1)
    for form in ("list", "array"):
        check_aligned(
            Store(
                prepare_aligned(
                    saved(tmp_path / "x.pt", aligned_file(SMALL, form, steps=5)),
                    tmp_path / "s.h5",
                    overwrite=True,
                    progress=False,
                )
            ),
            SMALL,
        )


def test_values_that_are_not_finite(tmp_path):
    data = {s: utterances(6, k) for k, s in enumerate(SPLITS)}
    file = aligned_file(data)
    x = file["train"]["src-audio"]
    x[1][0, :3], x[2][0, 5], x[3][0, 7] = -np.inf, np.nan, np.inf
    file["valid"]["src-audio"][0][0, 0] = -np.inf
    store = Store(
        prepare_aligned(saved(tmp_path / "x.pt", file), tmp_path / "s.h5", progress=False)
    )
    data["train"][1]["a"][0, :3] = data["train"][2]["a"][0, 5] = data["train"][3]["a"][0, 7] = data[
        "valid"
    ][0]["a"][0, 0] = 0
    check_aligned(store, data)
    report = json.loads(store.attrs["report"])["splits"]
    assert (
        report["train"]["not finite"] == {"a": {"-inf": 3, "+inf": 1, "nan": 1}}
        and report["valid"]["not finite"] == {"a": {"-inf": 1, "+inf": 0, "nan": 0}}
        and "not finite" not in report["test"]
    )


def test_missing_modalities(tmp_path):
    data = {s: utterances(6, k) for k, s in enumerate(SPLITS)}
    data["train"][2]["v"][:] = 0
    for m in "tva":
        data["train"][4][m][:] = 0
    store = Store(
        prepare_aligned(
            saved(tmp_path / "x.pt", aligned_file(data)), tmp_path / "s.h5", progress=False
        )
    )
    assert (
        store["train"].present[2].tolist() == [True, False, True]
        and store["train"].present[4].tolist() == [False] * 3
        and store["train"].present.sum() == 14
    )
    report = json.loads(store.attrs["report"])
    assert report["splits"]["train"]["lengths"]["v"]["missing"] == 2 and any(
        "zero in 1 utterance;" in n for n in report["notes"]
    )


def test_exchanged_modalities(tmp_path):
    store = Store(
        prepare_aligned(
            saved(
                tmp_path / "x.pt", aligned_file(DATA, keys=("src-audio", "src-text", "src-visual"))
            ),
            tmp_path / "s.h5",
            progress=False,
        )
    )
    check_aligned(store, DATA)
    assert any(
        "exchanged" in n and "src-audio is t (width 300)" in n
        for n in json.loads(store.attrs["report"])["notes"]
    )
    other = Store(
        prepare_aligned(
            saved(tmp_path / "y.pt", aligned_file(SMALL, steps=5)),
            tmp_path / "o.h5",
            progress=False,
        )
    )
    check_aligned(other, SMALL)
    assert other.modalities == {"t": 6, "v": 3, "a": 4} and any(
        "file decide which modality" in n for n in json.loads(other.attrs["report"])["notes"]
    )


@pytest.mark.parametrize(
    "names", [LABELS, ["fear", "Anger", "HAPPY", "Sadness", "surprised", "disgust"]]
)
def test_labels_by_name(tmp_path, names):
    usual = {"anger": "anger", "happy": "happy", "sadness": "sad", "surprised": "surprise"}
    file = aligned_file(DATA)
    file["dict"]["tgt"] = {"<blank>": 0, "<unk>": 1, "<s>": 2, "</s>": 3} | {
        n: 4 + i for i, n in enumerate(names)
    }
    rows = [[2, *range(4, 4 + k), 3] for k in range(5)] + [[2, 9, 3]] * 7
    file["train"]["tgt"] = [tuple(r) for r in rows]
    store = Store(
        prepare_aligned(saved(tmp_path / "x.pt", file), tmp_path / "s.h5", progress=False)
    )
    for y, r in zip(store["train"].y, rows, strict=True):
        assert {c for c, v in zip(LABELS, y, strict=True) if v} == {
            usual.get(n.lower(), n.lower()) for n in (names[i - 4] for i in r[1:-1])
        }


def test_the_forms_of_labels(tmp_path):
    for turn in (
        lambda r: np.array(r),
        lambda r: [np.int64(i) for i in r],
        lambda r: torch.tensor(r),
    ):
        file = aligned_file(DATA)
        for s in SPLITS:
            file[s]["tgt"] = [turn(r) for r in file[s]["tgt"]]
        check_aligned(
            Store(
                prepare_aligned(
                    saved(tmp_path / "x.pt", file),
                    tmp_path / "s.h5",
                    overwrite=True,
                    progress=False,
                )
            ),
            DATA,
        )
    for s in SPLITS:
        file[s]["tgt"] = np.array(
            [[int(i) for i in r] + [0] * (9 - len(r)) for r in file[s]["tgt"]]
        )  # padded with <blank>
    check_aligned(
        Store(
            prepare_aligned(
                saved(tmp_path / "x.pt", file), tmp_path / "s.h5", overwrite=True, progress=False
            )
        ),
        DATA,
    )


def put(*keys, value):
    def change(f):
        for k in keys[:-1]:
            f = f[k]
        f[keys[-1]] = value(f[keys[-1]]) if callable(value) else value

    return change


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda f: f.pop("valid"), ("'valid'", "train, test")),
        (lambda f: f["train"].pop("src-audio"), ("'train'", "'src-audio'", "src-text")),
        (lambda f: f["test"].pop("tgt"), ("'test'", "'tgt'")),
        (lambda f: f.pop("dict"), ("'dict'",)),
        (lambda f: f["dict"].pop("tgt"), ("'tgt'",)),
        (put("train", value=[1, 2]), ("'train'", "list")),
        (put("dict", "tgt", "fear", value=5), ("'fear'", "5")),
        (put("dict", "tgt", "love", value=10), ("'love'", "happy")),
        (put("dict", "tgt", "happy", value=10), ("'happy'", "happiness")),
        (lambda f: f["dict"]["tgt"].pop("fear"), ("fear",)),
        (put("dict", "tgt", "fear", value="8"), ("'fear'", "str")),
        (
            put("train", "tgt", 3, value=[2, 12, 3]),
            ("'train'", "row 3", "12", "[4, 5, 6, 7, 8, 9]"),
        ),
        (put("valid", "tgt", 1, value=[2, -4, 3]), ("'valid'", "row 1", "-4")),
        (put("valid", "tgt", 1, value=[2, 1, 3]), ("'valid'", "row 1", "id 1")),
        (put("valid", "tgt", 1, value=[2, "fear", 3]), ("'valid'", "row 1", "str")),
        (put("valid", "tgt", 1, value=[2, 4.0, 3]), ("'valid'", "row 1", "float")),
        (put("valid", "tgt", 1, value=[2, [4], 3]), ("'valid'", "row 1", "list")),
        (lambda f: f.update(val=f.pop("valid")), ("no 'valid'", "val")),
        (put("valid", "tgt", 1, value=None), ("'valid'", "row 1", "NoneType")),
        (put("test", "tgt", value=lambda v: v[:-1]), ("'test'", "6 rows", "5 of labels")),
        (
            put("train", "src-text", value=lambda v: v[:-1]),
            ("'train'", "11 rows of src-text", "12 rows of src-visual"),
        ),
        (
            put("train", "src-text", 4, value=lambda v: v[:59]),
            ("'train'", "row 4", "(59, 300)", "(60, 300)"),
        ),
        (put("train", "src-text", 4, value=lambda v: v[0]), ("'train'", "row 4", "(300,)")),
        (
            put("train", "src-visual", 0, value=lambda v: v.tolist()),
            ("src-visual", "not made of arrays"),
        ),
        (
            put("train", "src-visual", value=lambda v: [a[:, :34] for a in v]),
            ("'valid'", "35", "34"),
        ),
        (
            put("test", "src-visual", value=lambda v: [a[:59] for a in v]),
            ("'src-visual' of 'test'", "59 steps", "60"),
        ),
        (
            put("test", "src-visual", value=lambda v: [a.astype(int) for a in v]),
            ("'test'", "src-visual", "floating"),
        ),
        (
            put("test", "src-visual", value=lambda v: np.zeros((6, 60))),
            ("'test'", "src-visual", "(6, 60)"),
        ),
        (put("test", "src-visual", value=lambda v: np.zeros((6, 0, 35))), ("'test'", "(0, 35)")),
        (put("test", "src-visual", value=[]), ("'test'", "src-visual", "without rows")),
        (put("test", "src-visual", value="x"), ("'test'", "src-visual", "str")),
        (
            put("test", "src-text", value=lambda v: [a * 1e6 for a in v]),
            ("'test'", "'t'", "float16", "float32"),
        ),
        (put("settings", value=Call(print, "ran")), ("print",)),
    ],
)
def test_aligned_refuses(tmp_path, capsys, change, words):
    file = aligned_file(DATA)
    change(file)
    (tmp_path / "out").mkdir()
    said = message(
        lambda: prepare_aligned(
            saved(tmp_path / "x.pt", file), tmp_path / "out" / "s.h5", progress=False
        )
    )
    assert all(w in said for w in words) and ("x.pt" in said or "s.h5" in said), said
    assert list((tmp_path / "out").iterdir()) == [] and "ran" not in capsys.readouterr().out


def test_settings_with_objects_do_not_cost_the_file(tmp_path):
    file = aligned_file(DATA)
    file["settings"] = argparse.Namespace(
        device=torch.device("cuda:0"), out=Path("/some/where"), dtype=torch.float32
    )
    for how in ("zip", "legacy", 4):
        path = saved(tmp_path / "x.pt", file, how)
        check_aligned(
            Store(prepare_aligned(path, tmp_path / "s.h5", overwrite=True, progress=False)), DATA
        )


def test_what_is_no_such_file(tmp_path):
    def go(path):
        return message(prepare_aligned, path, tmp_path / "s.h5", progress=False)

    assert "nothing.pt" in go(tmp_path / "nothing.pt") and str(tmp_path) in go(tmp_path)
    for value, words in (
        ([1], "list"),
        ({}, "nothing"),
        (3, "int"),
        (unaligned_file(SMALL, steps=5, words=5), "src-text"),
    ):
        assert words in go(saved(tmp_path / "x.pt", value))
    (tmp_path / "s.h5").write_text("mine")
    assert (
        "exists" in go(saved(tmp_path / "x.pt", aligned_file(SMALL, steps=5)))
        and (tmp_path / "s.h5").read_text() == "mine"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.h5", "x.pt"]


# the unaligned file


def check_unaligned(store, data, file, partner=None):
    for s, f in file.items():
        split, n = store[s], len(f["text"])
        b = split.batch(range(n))
        check_labels(
            split, [data[s][partner[s][i] if partner and s in partner else i] for i in range(n)]
        )
        for i in range(n):
            video, start, end = (v.decode() if isinstance(v, bytes) else str(v) for v in f["id"][i])
            assert b.id[i] == f"{video}[{start},{end}]" and split.extra("video")[i] == video
            for m, k in zip("tva", ("text", "vision", "audio"), strict=True):
                rows = np.flatnonzero(f[k][i].any(1))
                given = f[k][i][rows[0] : rows[-1] + 1]
                np.testing.assert_allclose(
                    b.x[m][i][b.mask[m][i]], given, rtol=1e-3, atol=1e-3 if m == "t" else 0
                )


@pytest.mark.parametrize(
    "how, kind, side, dtype, labels_side",
    [
        (4, "U", "left", "f4", "right"),
        (2, "S", "right", "f8", "right"),
        (3, "O", "right", "f4", "left"),
        (5, "S", "left", "f8", "left"),
        (0, "U", "right", "f4", "right"),
        ("zip", "U", "left", "f4", "left"),
    ],
)
def test_unaligned(tmp_path, how, kind, side, dtype, labels_side):
    file = unaligned_file(DATA, kind, side, dtype, steps=40)
    labels = saved(tmp_path / "train_valid_test.pt", aligned_file(DATA, side=labels_side))
    out = prepare_unaligned(
        saved(tmp_path / "noalign.pkl", file, how), labels, tmp_path / "s.h5", progress=False
    )
    store = Store(out)
    assert (
        store.name == "MOSEI, unaligned"
        and store.modalities == WIDTHS
        and store.splits == {"train": 12, "valid": 5, "test": 6}
    )
    check_store(out)
    check_unaligned(store, DATA, file)
    report = json.loads(store.attrs["report"])
    assert report["splits"]["train"]["padding"]["a"]["side"] == side and report["splits"]["train"][
        "paired"
    ] == {"with the row of the same number": 12, "with another row by their order": 0}
    assert [f["name"] for f in report["files"]] == [
        "noalign.pkl",
        "train_valid_test.pt",
    ] and report == json.loads((tmp_path / "s.report.json").read_text(encoding="utf-8"))


def test_another_order(tmp_path):
    order = {"train": np.random.default_rng(3).permutation(12).tolist(), "test": [0, 1, 2, 3, 5, 4]}
    file = unaligned_file(DATA, order=order, steps=30)
    store = Store(
        prepare_unaligned(
            saved(tmp_path / "n.pkl", file, 4),
            saved(tmp_path / "l.pt", aligned_file(DATA)),
            tmp_path / "s.h5",
            progress=False,
        )
    )
    check_unaligned(store, DATA, file, order)
    report = json.loads(store.attrs["report"])
    assert report["splits"]["test"]["paired"] == {
        "with the row of the same number": 4,
        "with another row by their words": 2,
    } and any("'test'" in n and "order" in n for n in report["notes"])


def test_words_that_were_rounded(tmp_path):
    order = {"train": list(range(12))[::-1]}
    file = unaligned_file(DATA, order=order, steps=30)
    file["train"]["text"] = file["train"]["text"].astype("f2").astype("f4")
    file["valid"]["text"] += np.where(
        file["valid"]["text"] == 0,
        0,
        np.random.default_rng(0).normal(size=file["valid"]["text"].shape) * 1e-5,
    )
    store = Store(
        prepare_unaligned(
            saved(tmp_path / "n.pkl", file, 4),
            saved(tmp_path / "l.pt", aligned_file(DATA)),
            tmp_path / "s.h5",
            progress=False,
        )
    )
    check_unaligned(store, DATA, file, order)


@pytest.mark.parametrize("side", ["left", "right"])
def test_unknown_words_are_rows_of_zeros(tmp_path, side):
    data = {s: utterances(20, k, 60) for k, s in enumerate(SPLITS)}
    rng = np.random.default_rng(0)
    for us in data.values():
        for u in us:
            u["t"][rng.random(len(u["t"])) < 0.15] = 0
        us[0]["t"] = rng.normal(size=(60, 300)).astype("f4")
        us[0]["t"][[0, 1, 49]] = 0  # a long one that begins with them, and whose cut falls on one
        us[1]["t"][:] = 0
    order = {"train": rng.permutation(20).tolist()}
    file = unaligned_file(data, side=side, order=order, steps=30)
    for other in ("left", "right"):
        store = Store(
            prepare_unaligned(
                saved(tmp_path / "n.pkl", file, 4),
                saved(tmp_path / "l.pt", aligned_file(data, side=other)),
                tmp_path / "s.h5",
                overwrite=True,
                progress=False,
            )
        )
        check_labels(store["train"], [data["train"][i] for i in order["train"]])
        check_labels(store["valid"], data["valid"])


# equal texts: words and order decide, and nobody guesses

YEAH = np.random.default_rng(5).normal(size=(1, 300)).astype("f4")


def with_yeah(rows, n=30, labels=("happy", "sad", "fear", "anger")):
    "Utterances of which some say one word alone, the same, each with its own label."
    data = {s: utterances(n if s == "train" else 4, k) for k, s in enumerate(SPLITS)}
    for i, label in zip(rows, labels, strict=False):
        u = data["train"][i]
        u |= {"t": YEAH.copy(), "v": u["v"][:1] + 1, "a": u["a"][:1], "labels": [label]}
    return data


def paired(tmp_path, data, order, labels_order=None, drop=True, **how):
    "The store of files in which the rows of train stand in these orders."
    known = dict(data)
    if labels_order is not None:
        known["train"] = [data["train"][i] for i in labels_order]
    file = unaligned_file(data, steps=20, order={"train": list(order)}, **how)
    return Store(
        prepare_unaligned(
            saved(tmp_path / "n.pkl", file, 4),
            saved(tmp_path / "l.pt", aligned_file(known)),
            tmp_path / "s.h5",
            drop_unmatched=drop,
            overwrite=True,
            progress=False,
        )
    )


def wrong(store, data):
    "Utterances with other labels than their own, and the numbers of those that are there."
    numbers = [int(id.split("[")[1].split(".")[0]) for id in store["train"].id]
    found = [{c for c, v in zip(LABELS, y, strict=True) if v} for y in store["train"].y]
    return [
        i for i, y in zip(numbers, found, strict=True) if y != set(data["train"][i]["labels"])
    ], numbers


def told(store):
    report = json.loads(store.attrs["report"])
    return " ".join(report["notes"]), report["splits"]["train"]


def marked(store):
    "Which utterances of train the store marks as ambiguous."
    _, numbers = wrong(store, {"train": [{"labels": []}] * 99})
    ambiguous = store["train"].extra("ambiguous")
    return [i for i, a in zip(numbers, ambiguous, strict=True) if a]


def test_one_of_several_equal_texts_is_absent(tmp_path):
    data = with_yeah((27, 28, 29))
    order = [i for i in range(30) if i != 27]
    said = message(paired, tmp_path, data, order, drop=False)
    for words in (
        "2 utterances cannot be identified by words or order: rows 27 (",
        "the words of rows 27, 28 and 29 of l.pt",
        "more copies",
        "--drop",
    ):
        assert words in said, said
    store = paired(tmp_path, data, order)
    assert wrong(store, data) == ([], list(range(27))) and marked(store) == []
    notes, train = told(store)
    assert "2 utterances cannot be identified" in notes and train["left out"] == 2
    [group] = train["equal texts"]
    assert all(w in group for w in ("[28.5,28.75]", "[29.5,29.75]", "(rows 27, 28 and 29)"))


def test_one_utterance_is_counted_as_one(tmp_path):
    data = with_yeah((28, 29))
    said = message(paired, tmp_path, data, range(29), drop=False)
    assert "1 utterance cannot be identified by words or order: row 28 (" in said, said
    assert ") has the words of rows 28 and 29 of l.pt" in said
    same = with_yeah((20, 21, 22), labels=("sad",) * 3)
    said = message(paired, tmp_path, same, [i for i in range(30) if i != 21], drop=False)
    assert "1 of 30 rows of l.pt belongs to no utterance: 1 of rows 20, 21 and 22. " in said, said
    store = paired(tmp_path, same, [*range(28), 29])
    assert "so 1 utterance is in another row" in told(store)[0]


def test_another_row_than_the_equal_texts_is_absent(tmp_path):
    data = with_yeah((3, 4, 5, 9))
    store = paired(tmp_path, data, [i for i in range(30) if i != 1])
    assert wrong(store, data) == ([], [0, *range(2, 30)]) and marked(store) == [3, 4, 5, 9]
    notes, train = told(store)
    assert train["paired"] == {
        "with the row of the same number": 1,
        "with another row by their order": 28,
    }
    assert "all are in the same order" in notes and "different order" not in notes
    assert "4 utterances share all their words" in notes and "`ambiguous`" in notes
    assert len(train["equal texts"]) == 1
    again = paired(tmp_path, data, range(30), [i for i in range(30) if i != 1])
    assert wrong(again, data) == ([], [0, *range(2, 30)])


@pytest.mark.parametrize("absent", [3, 4, 5, 9])
@pytest.mark.parametrize("side", ["features", "labels"])
def test_an_equal_text_is_absent_in_either_file(tmp_path, absent, side):
    data = with_yeah((3, 4, 5, 9))
    rest = [i for i in range(30) if i != absent]
    orders = (rest, None) if side == "features" else (range(30), rest)
    store = paired(tmp_path, data, *orders)
    bad, numbers = wrong(store, data)
    # 9 stands alone between its neighbours; of 3, 4 and 5 nobody knows which is absent
    lost = {9} if absent == 9 else {3, 4, 5}
    assert bad == [] and numbers == [i for i in range(30) if i not in lost]


@pytest.mark.parametrize(
    "moves",
    [
        {3: 9, 9: 4, 4: 3, 12: 20, 20: 12},  # among themselves, and two others
        {3: 4, 4: 3, 12: 20, 20: 12},  # two of them, and two others
        {12: 13, 13: 12},  # none of them
        {3: 12, 12: 3},  # one with another text
        {5: 6, 6: 5},  # one of them and its neighbour: the other texts stay in order
    ],
)
def test_equal_texts_where_rows_have_moved(tmp_path, moves):
    data = with_yeah((3, 4, 5, 9))
    order = [moves.get(i, i) for i in range(30)]
    said = message(paired, tmp_path, data, order, drop=False)
    assert "4 utterances cannot be identified" in said and "different order" in said, said
    store = paired(tmp_path, data, order)
    bad, numbers = wrong(store, data)
    assert bad == [] and sorted(numbers) == [i for i in range(30) if i not in (3, 4, 5, 9)]
    notes, train = told(store)
    assert "different order" in notes and len(train["equal texts"]) == 1


def described(texts, vectors, T, last=False):
    "Texts, as numbers of words, in a file that keeps T words of each."
    words = Words(vectors.shape[1])
    x = np.zeros((len(texts), T, vectors.shape[1]), "f4")
    for v, said in zip(x, texts, strict=True):
        said = said[-T:] if last else said[:T]
        v[: len(said)] = vectors[said]
    words.add(x)
    return words.done()


@pytest.mark.parametrize("how", ["absent here", "absent there", "shuffled", "exchanged"])
def test_equal_texts_are_never_guessed(how):
    "Wherever words and order can show that rows are absent or moved, no pair is wrong."
    vectors = np.random.default_rng(0).normal(size=(12, 8)).astype("f4")
    pairs = 0
    for seed in range(250):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(4, 20))
        pool = [rng.integers(0, 12, rng.choice([1, 2, 35, 45])).tolist() for _ in range(5)]
        texts = [
            pool[rng.integers(5)] if rng.random() < 0.5 else rng.integers(0, 12, 30).tolist()
            for _ in range(n)
        ]
        every = list(range(n))
        here, there = every, every
        absent = rng.choice(n, rng.integers(1, 3), replace=False).tolist()
        if how == "absent here":
            here = [i for i in every if i not in absent]
        if how == "absent there":
            there = [i for i in every if i not in absent]
        if how == "shuffled":
            here = rng.permutation(n).tolist()
        if how == "exchanged":
            i, j = rng.choice(n, 2, replace=False).tolist()
            here = [{i: j, j: i}.get(k, k) for k in every]
        mine, other = ([texts[i] for i in rows] for rows in (here, there))
        if mine == other:
            continue  # only equal texts have moved, which nothing can show
        found = pair_utterances(
            described(mine, vectors, 30, last=seed % 2), described(other, vectors, 40)
        )
        partners = {here[i]: there[j] for i, j in enumerate(found.partner) if j >= 0}
        assert all(i == j for i, j in partners.items()), (seed, partners)
        pairs += len(partners)
    assert pairs > 1000


def test_equal_texts_that_were_exchanged_are_said(tmp_path):
    data = with_yeah((3, 4, 5, 9))
    order = [{4: 9, 9: 4}.get(i, i) for i in range(30)]
    store = paired(tmp_path, data, order, drop=False)  # words and order cannot show it
    assert wrong(store, data)[0] == [9, 4] and sorted(marked(store)) == [3, 4, 5, 9]
    assert "4 utterances share all their words" in told(store)[0]


def test_equal_texts_with_the_same_labels_need_no_guess(tmp_path):
    data = with_yeah((3, 4, 5, 9), labels=("sad",) * 4)
    store = paired(tmp_path, data, [i for i in range(30) if i != 4])
    assert wrong(store, data) == ([], [i for i in range(30) if i != 4]) and marked(store) == []
    store = paired(tmp_path, data, np.random.default_rng(1).permutation(30), drop=False)
    assert wrong(store, data)[0] == [] and marked(store) == []
    assert "share all their words" not in told(store)[0]


def test_two_equal_texts_in_one_gap_help_each_other(tmp_path):
    data = with_yeah((10, 12, 14))
    for i, label in ((11, "disgust"), (13, "surprise")):
        u = data["train"][i]
        u |= {"t": -YEAH, "v": u["v"][:1], "a": u["a"][:1], "labels": [label]}
    for absent, lost in ((10, ()), (14, ()), (12, ())):
        store = paired(tmp_path, data, [i for i in range(30) if i != absent])
        bad, numbers = wrong(store, data)
        assert bad == [] and not set(lost) & set(numbers), absent


def test_real_texts(tmp_path):
    "The numbers of equal texts in MOSEI, with a random vector for each word."
    data = os.environ.get("CARAT_DATA", "")
    path = Path(data or "nowhere") / "mosei_text_emotions_train.csv"
    if not path.is_file():
        pytest.skip("the transcripts of MOSEI are not here")
    with open(path, encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    y = np.array([[float(r[c]) > 0 for c in LABELS] for r in rows])
    said = [r["text"].split() for r in rows]
    vectors = np.random.default_rng(0).normal(size=(99999, 8)).astype("f4")
    number = {w: i for i, w in enumerate(dict.fromkeys(w for t in said for w in t))}

    texts = [[number[w] for w in t] for t in said]

    every = list(range(len(rows)))
    hi = next(i for i in every if rows[i]["text"].strip().lower() == "hi")
    known = described(texts, vectors, 60)
    for name, order in (
        ("the same", every),
        ("without row 100", [i for i in every if i != 100]),
        ("without a hi", [i for i in every if i != hi]),
        ("shuffled", np.random.default_rng(0).permutation(len(rows)).tolist()),
    ):
        found = pair_utterances(described([texts[k] for k in order], vectors, 50), known)
        partner = found.partner
        there = partner >= 0
        bad = (y[partner[there]] != y[np.array(order)[there]]).any(1)
        print(f"{name}: {int(there.sum())} paired, {int(bad.sum())} with other labels")
        assert not bad.any() and there.sum() > len(rows) - 300


def test_files_that_keep_the_last_words(tmp_path):
    data = {s: utterances(30 if s == "train" else 4, k, 95) for k, s in enumerate(SPLITS)}
    assert sum(len(u["t"]) > 60 for u in data["train"]) > 5
    for last in ((50, 60), (50, None), (None, 60)):  # words that each file keeps from the end
        kept = [
            {s: [u | {"t": u["t"][-n:] if n else u["t"]} for u in us] for s, us in data.items()}
            for n in last
        ]
        lengths = {s: [len(u["t"]) for u in us] for s, us in data.items()}
        aligned = aligned_file(kept[1])
        for side in ("left", "right"):
            store = Store(
                prepare_unaligned(
                    saved(tmp_path / "n.pkl", unaligned_file(kept[0], side=side, steps=20), 4),
                    saved(tmp_path / "l.pt", aligned),
                    tmp_path / "s.h5",
                    overwrite=True,
                    progress=False,
                )
            )
            assert store.splits == {s: len(n) for s, n in lengths.items()}
            for s in SPLITS:
                check_labels(store[s], data[s])


def test_one_padding_side_for_an_aligned_file(tmp_path):
    "Text is padded on the left; vision is zero at the end of every utterance."
    data = {s: utterances(8, k, 58) for k, s in enumerate(SPLITS)}
    for us in data.values():
        for u in us:
            n = max(8, len(u["t"]))
            u |= {m: np.resize(u[m], (n, u[m].shape[1])) for m in "tva"}
            u["t"][:], u["v"][-6:] = np.random.default_rng(n).normal(size=u["t"].shape), 0
    file = aligned_file(data, side="left")
    store = Store(
        prepare_aligned(saved(tmp_path / "x.pt", file), tmp_path / "s.h5", progress=False)
    )
    check_aligned(store, data)
    report = json.loads(store.attrs["report"])
    sides = {v["side"] for s in SPLITS for v in report["splits"][s]["padding"].values()}
    assert sides == {"left"}


def test_one_padding_side_for_an_unaligned_file(tmp_path):
    file = unaligned_file(DATA, side="left", steps=30)
    for f in file.values():
        f["vision"][:, -12:] = 0  # no face at the end
    store = Store(
        prepare_unaligned(
            saved(tmp_path / "n.pkl", file, 4),
            saved(tmp_path / "l.pt", aligned_file(DATA)),
            tmp_path / "s.h5",
            progress=False,
        )
    )
    report = json.loads(store.attrs["report"])
    sides = {v["side"] for s in SPLITS for v in report["splits"][s]["padding"].values()}
    assert sides == {"left"}
    for i, x in enumerate(file["train"]["vision"]):
        rows = np.flatnonzero(x.any(1))
        n = 30 - rows[0] if len(rows) else 0
        assert store["train"].lengths["v"][i] == n


def test_words_without_partner(tmp_path):
    labels = saved(tmp_path / "l.pt", aligned_file(DATA))
    file = unaligned_file(DATA, steps=30)
    file["train"]["text"][[2, 7]] = np.random.default_rng(0).normal(size=(2, 50, 300))

    def go(**more):
        path = saved(tmp_path / "n.pkl", file, 4)
        return prepare_unaligned(path, labels, tmp_path / "s.h5", progress=False, **more)

    said = message(go)
    assert all(
        w in said
        for w in (
            "2 of 12",
            "'train'",
            "rows 2 (vidéo-0[2.5,2.75]) and 7 (",
            "n.pkl",
            "l.pt",
            "--drop-unmatched",
        )
    ), said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["l.pt", "n.pkl"]
    store = Store(go(drop_unmatched=True))
    keep = [i for i in range(12) if i not in (2, 7)]
    assert (
        store.splits["train"] == 10
        and store["train"].id.tolist() == [f"vidéo-{i // 3}[{i}.5,{i}.75]" for i in keep]
        and store["train"].extra("video").tolist() == [f"vidéo-{i // 3}" for i in keep]
    )
    check_labels(store["train"], [DATA["train"][i] for i in keep])
    report = json.loads(store.attrs["report"])
    assert (
        report["splits"]["train"]["left out"] == 2
        and report["splits"]["train"]["rows"] == 10
        and any("2 of 12" in n and "left out" in n for n in report["notes"])
    )


def test_fewer_rows(tmp_path):
    def go(file, **more):
        return prepare_unaligned(
            saved(tmp_path / "n.pkl", file, 4),
            saved(tmp_path / "l.pt", aligned_file(DATA)),
            tmp_path / "s.h5",
            overwrite=True,
            progress=False,
            **more,
        )

    file = {
        s: {k: v[1:] if s == "train" else v for k, v in d.items()}
        for s, d in unaligned_file(DATA, steps=30).items()
    }
    said = message(lambda: go(file))
    assert "1 of 12 rows of l.pt belongs to no utterance: row 0. " in said
    check_labels(Store(go(file, drop_unmatched=True))["train"], DATA["train"][1:])
    other = {s: utterances(len(v), 50 + k) for k, (s, v) in enumerate(DATA.items())}
    said = message(lambda: go(unaligned_file(other, steps=30), drop_unmatched=True))
    assert "12 of 12 utterances" in said and "drop" not in said


def test_one_changed_word_is_seen(tmp_path):
    file = unaligned_file(DATA, steps=30)
    i = max(range(12), key=lambda i: len(DATA["train"][i]["t"]))
    file["train"]["text"][i, 3] = -file["train"]["text"][i, 3]
    assert f"row {i}" in message(
        lambda: prepare_unaligned(
            saved(tmp_path / "n.pkl", file, 4),
            saved(tmp_path / "l.pt", aligned_file(DATA)),
            tmp_path / "s.h5",
            progress=False,
        )
    )


def with_ids(change):
    def go(f):
        v = f["train"]["id"].astype(object)
        f["train"]["id"] = change(v) if callable(change) else change

    return go


def edit(v, r, value):
    v[r] = value
    return v


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda f: f["train"].pop("id"), ("'train'", "'id'")),
        (lambda f: f["valid"].pop("vision"), ("'valid'", "'vision'")),
        (lambda f: f.pop("test"), ("'test'",)),
        (with_ids(lambda v: edit(v, 5, v[2])), ("'train'", "rows 2 and 5", "vidéo-0[2.5,2.75]")),
        (with_ids(lambda v: v[:-1]), ("'train'", "11 rows", "12")),
        (with_ids(lambda v: edit(v, 3, [None, 1, 2])), ("'train'", "row 3")),
        (with_ids(lambda v: edit(v, 3, ["a\x07b", 1, 2])), ("'train'", "row 3")),
        (with_ids(np.zeros((12, 3))), ("'id'", "float64")),
        (with_ids(None), ("'id'", "NoneType")),
        (with_ids([["", "", ""]] * 12), ("'train'", "row 0")),
        (put("train", "text", value=lambda v: v[:, :, :299]), ("'valid'", "300", "299")),
        (put("train", "audio", value=lambda v: v[:-1]), ("'train'", "11 rows of audio")),
        (put("train", "audio", value=lambda v: v[0]), ("'audio'", "(30, 74)")),
    ],
)
def test_unaligned_refuses(tmp_path, change, words):
    file = unaligned_file(DATA, steps=30)
    change(file)
    said = message(
        lambda: prepare_unaligned(
            saved(tmp_path / "n.pkl", file, 4),
            saved(tmp_path / "l.pt", aligned_file(DATA)),
            tmp_path / "s.h5",
            progress=False,
        )
    )
    assert all(w in said for w in words) and "n.pkl" in said, said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["l.pt", "n.pkl"]


@pytest.mark.parametrize(
    "rows",
    [
        lambda i: f"video{i}[0]",
        lambda i: [f"video{i}", 1.5, i],
        lambda i: [b"video%d" % i, b"1", b"2"],
        lambda i: (f"video{i}",),
    ],
)
def test_the_forms_of_ids(tmp_path, rows):
    file = unaligned_file(DATA, steps=30)
    for s in SPLITS:
        file[s]["id"] = [rows(i) for i in range(len(DATA[s]))]
    store = Store(
        prepare_unaligned(
            saved(tmp_path / "n.pkl", file, 4),
            saved(tmp_path / "l.pt", aligned_file(DATA)),
            tmp_path / "s.h5",
            progress=False,
        )
    )
    assert (
        store["train"].id[1] in ("video1[0]", "video1[1.5,1]", "video1[1,2]", "video1")
        and store["train"].extra("video")[1] == "video1"
    )


def test_an_utterance_in_two_splits_is_noted(tmp_path):
    file = unaligned_file(DATA, steps=30)  # the splits have ids of the same numbers
    store = Store(
        prepare_unaligned(
            saved(tmp_path / "n.pkl", file, 4),
            saved(tmp_path / "l.pt", aligned_file(DATA)),
            tmp_path / "s.h5",
            progress=False,
        )
    )
    assert any(
        "more than one split: vidéo-0[0.5,0.75] in 'train' and 'test'" in n
        for n in json.loads(store.attrs["report"])["notes"]
    )


def test_labels_of_another_kind_of_words(tmp_path):
    labels = saved(tmp_path / "l.pt", aligned_file(SMALL, steps=5))
    assert "300" in message(
        lambda: prepare_unaligned(
            saved(tmp_path / "n.pkl", unaligned_file(DATA, steps=30), 4),
            labels,
            tmp_path / "s.h5",
            progress=False,
        )
    )


# MMSA files


def mmsa(data, steps=50, emotions="emotion_labels", lengths=False):
    "An MMSA file; with `emotions`, the columns are those of CMU-MOSEI's own labels."
    rng, out = np.random.default_rng(2), {}
    for s, us in data.items():
        n = len(us)
        kept = [min(len(u["t"]), steps) for u in us]
        x = {"text": 768, "vision": 35, "audio": 74}
        x = {
            k: np.stack([pad(rng.normal(size=(m, d)), steps, "right") for m in kept])
            for k, d in x.items()
        }
        y = np.array([[2.5 * (c in u["labels"]) for c in LABELS] for u in us])
        sentiment = np.where(np.arange(n) % 2, -1.5, 2.0)
        out[s] = x | {
            "raw_text": np.array([f"words of {i}" for i in range(n)]),
            "id": [f"{s}{i // 3}$_${i}" for i in range(n)],
            "annotations": ["Positive"] * n,
            "regression_labels": sentiment,
            "classification_labels": np.ones(n),
        }
        if emotions == "emotion_labels":
            out[s][emotions] = y
        if emotions == "labels":
            out[s][emotions] = np.c_[sentiment, y][:, None]
        if emotions == "names":
            out[s] |= {
                k: y[:, LABELS.index(NAMES[k])].tolist() for k in ("happiness", "fear", "anger")
            } | {k: y[:, LABELS.index(k)][:, None] for k in ("sad", "surprise", "disgust")}
        if emotions == "columns":
            out[s]["labels"] = y[:, ::-1].tolist()
            out["emotion_names"] = ["Fear", "disgust", "surprise", "anger", "sadness", "joy"]
        if emotions == "classes":
            out[s]["class_labels"] = np.eye(6)[rng.integers(0, 6, n)]
        if lengths:
            out[s]["audio_lengths"] = [max(1, m - 1) for m in kept]
            mask = np.zeros((n, 3, steps), "f4")
            for row, m in zip(mask, kept, strict=True):
                row[1, :m] = 1
            out[s]["text_bert"] = mask
            x["text"][:] = 1  # padding that is not zero
    return out


@pytest.mark.parametrize("emotions", ["emotion_labels", "labels", "names", "columns"])
@pytest.mark.parametrize("lengths", [True, False])
def test_mmsa_with_emotions(tmp_path, emotions, lengths):
    file = mmsa(DATA, emotions=emotions, lengths=lengths)
    path = saved(tmp_path / "aligned_50.pkl", file, 4)
    store = Store(prepare_mmsa(path, tmp_path / "s.h5", progress=False))
    check_store(store.path)
    assert store.modalities == {"t": 768, "v": 35, "a": 74} and store.labels == LABELS
    for s, us in DATA.items():
        split = store[s]
        check_labels(split, us)
        kept = [min(len(u["t"]), 50) for u in us]
        assert split.id.tolist() == [f"{s}{i // 3}[{i}]" for i in range(len(us))]
        assert split.extra("video")[0] == f"{s}0" and split.text[1] == "words of 1"
        assert split.lengths["t"].tolist() == split.lengths["v"].tolist() == kept
        assert split.lengths["a"].tolist() == [max(1, n - 1) if lengths else n for n in kept]
        got = split.batch(range(len(us))).x["v"][:, :50].numpy()
        np.testing.assert_allclose(got[2][: kept[2]], file[s]["vision"][2][: kept[2]], rtol=1e-6)
    notes = " ".join(json.loads(store.attrs["report"])["notes"])
    assert ("assumed" in notes) == (emotions in ("emotion_labels", "labels"))
    said = message(prepare_aligned, path, tmp_path / "t.h5", progress=False)
    assert "MMSA" in said and "--mmsa" in said and "damaged" not in said


def test_mmsa_without_emotions(tmp_path):
    path = saved(tmp_path / "unaligned_50.pkl", mmsa(DATA, emotions=None), 4)
    labels = saved(tmp_path / "l.pt", aligned_file(DATA))
    for said in (
        message(prepare_aligned, path, tmp_path / "s.h5", progress=False),
        message(prepare_unaligned, path, labels, tmp_path / "s.h5", progress=False),
        message(prepare_mmsa, path, tmp_path / "s.h5", progress=False),
    ):
        for word in ("MMSA", "text 768 wide", "regression_labels", "no emotions", "unaligned_50"):
            assert word in said, said
        assert "damaged" not in said
    assert "not an MMSA file" in message(prepare_mmsa, labels, tmp_path / "s.h5")
    assert "MMSA" in message(prepare_m3ed, path, tmp_path / "s.h5", progress=False)
    assert not (tmp_path / "s.h5").exists()


def with_value(value):
    def change(f):
        f["valid"]["emotion_labels"] = value(f["valid"]["emotion_labels"])

    return change


@pytest.mark.parametrize(
    "emotions, change, words",
    [
        ("classes", lambda f: None, ("class_labels", "look like classes")),
        ("emotion_labels", with_value(lambda v: v - 1), ("'valid'", "[0, 3]")),
        ("emotion_labels", with_value(lambda v: v * np.nan), ("'valid'", "[0, 3]")),
        ("emotion_labels", with_value(lambda v: v[:-1]), ("'valid'", "rows of features")),
        ("emotion_labels", with_value(lambda v: v[:, :5]), ("emotion_labels", "(5,)")),
        ("emotion_labels", with_value(lambda v: [["a"] * 6] * len(v)), ("'valid'", "numbers")),
        ("emotion_labels", with_value(lambda v: None), ("'valid'", "numbers")),
        ("names", put("valid", "happiness", value=lambda v: v[:-1]), ("'valid'", "one number")),
        ("names", put("valid", "sad", value=lambda v: v[:-1]), ("'sad' of 'valid'", "one number")),
        ("emotion_labels", lambda f: f["test"].pop("id"), ("'test'", "'id'")),
        ("emotion_labels", lambda f: f["test"].pop("raw_text"), ("'test'", "'raw_text'")),
        ("emotion_labels", lambda f: f.pop("test"), ("'test'",)),
        ("emotion_labels", put("train", "raw_text", value=["a"]), ("'train'", "raw_text")),
    ],
)
def test_mmsa_refuses(tmp_path, emotions, change, words):
    file = mmsa(DATA, emotions=emotions)
    change(file)
    path = saved(tmp_path / "x.pkl", file, 4)
    said = message(prepare_mmsa, path, tmp_path / "s.h5", progress=False)
    assert all(w in said for w in words) and "x.pkl" in said, said
    assert [p.name for p in tmp_path.iterdir()] == ["x.pkl"]


# the commands


def carat(*argv):
    return cli.main([str(a) for a in argv])


def test_commands(tmp_path, capsys):
    a, u = (
        saved(tmp_path / "a.pt", aligned_file(DATA)),
        saved(tmp_path / "u.pkl", unaligned_file(DATA, steps=30), 4),
    )
    assert carat("prepare", "mosei", "--aligned", a, "--out", tmp_path / "a.h5") == 0
    out = capsys.readouterr().out
    assert all(
        w in out for w in ("padded on the right", "happy", "a.pt", "train 12, valid 5, test 6")
    )
    assert (
        carat("prepare", "mosei", "--unaligned", u, "--labels", a, "--out", tmp_path / "u.h5") == 0
    )
    assert "with the row of the same number" in capsys.readouterr().out
    assert carat("check", tmp_path / "u.h5") == 0
    assert "with the row of the same number" in capsys.readouterr().out
    for argv, words in (
        (["--out", "x"], "exactly one"),
        (["--mmsa", a, "--out", "x"], "not an MMSA file"),
        (["--aligned", a, "--csd", tmp_path, "--out", "x"], "exactly one"),
        (["--unaligned", u, "--out", "x"], "--labels"),
        (["--aligned", a, "--labels", a, "--out", "x"], "--labels belongs"),
        (["--aligned", a, "--folds", a, "--out", "x"], "--folds belongs"),
        (["--aligned", a, "--no-word-aligned", "--out", "x"], "--no-word-aligned belongs"),
        (["--aligned", a, "--out", tmp_path / "a.h5"], "exists"),
    ):
        assert carat("prepare", "mosei", *argv) == 2
        err = capsys.readouterr().err
        assert err.startswith("carat: ") and err.count("\n") == 1 and words in err


# hostile and damaged files: an error or the right store, nothing run, nothing left


@pytest.mark.parametrize("where", ["aligned", "unaligned", "labels"])
def test_hostile_files(tmp_path, where):
    a, u = aligned_file(SMALL, steps=5), unaligned_file(SMALL, words=5, steps=6)
    for n, (call, name) in enumerate(
        (
            (Call(Path.touch, tmp_path / "ran"), "touch"),
            (Call(eval, f"open({str(tmp_path / 'ran')!r}, 'w')"), "eval"),
            (Call(sys.exit, 3), "exit"),
        )
    ):
        bad = {"aligned": a, "labels": a, "unaligned": u}[where]
        bad["train"]["extra"] = [1, {"x": call}]
        a_path, u_path = (
            saved(tmp_path / "a.pt", a, "legacy" if n else "zip"),
            saved(tmp_path / "u.pkl", u, 2 + n),
        )
        out = tmp_path / "s.h5"
        if where == "aligned":
            said = message(prepare_aligned, a_path, out)
        else:
            said = message(prepare_unaligned, u_path, a_path, out)
        assert name in said or "getattr" in said, said
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pt", "u.pkl"]


def program(whole):
    "Where bytes look like a program rather than like numbers of an array: letters, digits, signs."
    text = np.frombuffer(whole, np.uint8)
    return np.flatnonzero((text > 31) & (text < 127) | (text == 0x80))


def fuzz(tmp_path, whole, import_, right, times=200, exact=False, loads=None):
    """Import damaged copies. What is accepted has all its rows.

    It is the right store, or (`loads`) that of what Python reads in the damaged file.
    """
    refused = 0
    for i in range(times):
        bad = damaged(whole, i, program(whole) if i % 3 else None)
        (tmp_path / "bad").write_bytes(bad)
        out = tmp_path / "out" / "s.h5"
        out.parent.mkdir(exist_ok=True)
        try:
            import_(tmp_path / "bad", out)
        except CaratError:
            refused += 1
            assert list(out.parent.iterdir()) == []
            continue
        store = Store(out)
        check_store(out)
        assert (
            store.splits == {s: 4 for s in SPLITS}
            and store.labels == LABELS
            and sorted(p.name for p in out.parent.iterdir()) == ["s.h5", "s.report.json"]
        )
        if exact:
            right(store)
        elif loads is not None:
            try:
                data = loads(bad)
            except Exception:
                data = None
            if data is not None:
                right(store, data)
        for p in out.parent.iterdir():
            p.unlink()
    assert refused > times // 4, refused
    return refused


@pytest.mark.slow
@pytest.mark.parametrize("how", ["zip", "legacy", 4])
def test_damaged_aligned_files(tmp_path, how):
    whole = saved(tmp_path / "good", aligned_file(SMALL, steps=5), how).read_bytes()

    def right(store, data=None):
        if data is None:
            return check_aligned(store, SMALL)
        number = {i: NAMES[k] for k, i in data["dict"]["tgt"].items() if k in NAMES}
        for s in SPLITS:
            if len(number) == 6:
                assert [{c for c, v in zip(LABELS, y, strict=True) if v} for y in store[s].y] == [
                    {number[i] for i in r if i in number} for r in data[s]["tgt"]
                ]
            x = np.array(data[s]["src-audio"], "f4")
            kept = store[s].batch(range(4))
            x[~np.isfinite(x)] = 0
            assert np.isclose(np.abs(x).sum(), float(kept.x["a"].abs().sum()), rtol=1e-4)

    def loads(bad):
        f = io.BytesIO(bad)
        for _ in range(3 if how == "legacy" else 0):
            Careful(f).load()
        return Careful(f).load()

    fuzz(
        tmp_path,
        whole,
        lambda path, out: prepare_aligned(path, out, progress=False),
        right,
        exact=how == "zip",
        loads=loads,
    )


@pytest.mark.slow
def test_damaged_unaligned_files(tmp_path):
    labels = saved(tmp_path / "labels.pt", aligned_file(SMALL, steps=5))
    whole = saved(tmp_path / "good", unaligned_file(SMALL, words=5, steps=6), 4).read_bytes()

    def right(store, data):
        for s in SPLITS:
            check_labels(store[s], SMALL[s])
            x = np.array(data[s]["vision"], "f4")
            assert (
                np.isclose(
                    np.abs(x[np.isfinite(x)]).sum(),
                    float(store[s].batch(range(4)).x["v"].abs().sum()),
                    rtol=1e-4,
                )
                and len(set(store[s].id)) == 4
            )

    def loads(bad):
        return Careful(io.BytesIO(bad)).load()

    fuzz(
        tmp_path,
        whole,
        lambda path, out: prepare_unaligned(path, labels, out, progress=False),
        right,
        loads=loads,
    )


@pytest.mark.slow
def test_damaged_mmsa_files(tmp_path):
    narrow = mmsa(SMALL, steps=5, lengths=True)
    for s in SPLITS:
        narrow[s] |= {k: narrow[s][k][:, :, :6] for k in ("text", "vision", "audio")}
    whole = saved(tmp_path / "good", narrow, 4).read_bytes()

    def right(store, data):
        for s in SPLITS:
            known = data[s]["emotion_labels"][:, [LABELS.index(c) for c in store.labels]]
            assert ((known > 0) == (store[s].y > 0)).all()

    def loads(bad):
        data = Careful(io.BytesIO(bad)).load()
        return data if all("emotion_labels" in data[s] for s in SPLITS) else None

    fuzz(
        tmp_path,
        whole,
        lambda path, out: prepare_mmsa(path, out, progress=False),
        right,
        loads=loads,
    )


def test_truncated_files(tmp_path):
    for how in ("zip", "legacy", 4):
        whole = saved(tmp_path / "good", aligned_file(SMALL, steps=5), how).read_bytes()
        for n in np.linspace(0, len(whole) - 1, 15).astype(int):
            (tmp_path / "bad").write_bytes(whole[:n])
            assert "bad" in message(
                lambda: prepare_aligned(tmp_path / "bad", tmp_path / "s.h5", progress=False)
            )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "good"]
