"""M3ED as people have it: the ten-item pickle, the padded file, the annotation, into a store.

The files are written here after the description of the formats.
"""

import argparse
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from faults import damaged
from hostile import Call, Careful, message

from carat import cli
from carat.core import CaratError
from carat.data import m3ed
from carat.data.m3ed import modalities_by_width, prepare_m3ed
from carat.data.store import Store, check_store

SPLITS = ("train", "valid", "test")
LABELS = ("Happy", "Neutral", "Sad", "Disgust", "Anger", "Fear", "Surprise")
PLACES = {"t": 3, "a": 4, "v": 5}


def ten(seed=0, sizes=(5, 3, 2), widths=(768, 1024, 342), lengths=(2, 9), dtype="f4"):
    "The ten items, from dialogues to the ids of the splits."
    rng = np.random.default_rng(seed)
    ids = [f"剧{i // 3}_{i % 3 + 1}" for i in range(sum(sizes))]
    n = {d: int(rng.integers(*lengths)) for d in ids}
    features = [
        {d: [rng.normal(size=w).astype(dtype) for _ in range(n[d])] for d in ids} for w in widths
    ]
    cuts = np.cumsum([0, *sizes])
    return [
        ids,
        {d: ["AB"[t % 2] for t in range(n[d])] for d in ids},
        {d: rng.integers(0, 7, n[d]).tolist() for d in ids},
        *features,
        {d: [f"第{t + 1}句 of {d}" for t in range(n[d])] for d in ids},
        *[ids[a:b] for a, b in zip(cuts[:-1], cuts[1:], strict=True)],
    ]


def lengthen(f, d, n, last=()):
    rng = np.random.default_rng(1)
    for i in (3, 4, 5):
        f[i][d] = [rng.normal(size=len(f[i][d][0])).astype("f4") for _ in range(n)]
    f[1][d], f[2][d], f[6][d] = (
        ["A"] * n,
        [1] * (n - len(last)) + list(last),
        [f"{t}" for t in range(n)],
    )
    return f


def padded(f, T=60, swapped=True, how=list, names=LABELS, lengths="split", left=False):
    "The file of the published reader: 60 rows a dialogue, vision and audio exchanged."

    def pad(v):
        x = np.zeros((T, len(v[0])), "f4")
        v = np.stack(v)[:T]
        x[T - len(v) if left else 0 :][: len(v)] = v
        return x

    keys = (
        ("src-text", 3),
        ("src-visual", 4 if swapped else 5),
        ("src-audio", 5 if swapped else 4),
    )
    data = {
        s: {k: how([pad(f[i][d]) for d in ids]) for k, i in keys}
        | {"tgt": [[2, *sorted({4 + names.index(LABELS[c]) for c in f[2][d]}), 3] for d in ids]}
        for s, ids in zip(SPLITS, f[7:], strict=True)
    }
    said = {s: [len(f[2][d]) for d in ids] for s, ids in zip(SPLITS, f[7:], strict=True)}
    for s in SPLITS:
        if lengths == "split":
            data[s]["len_list"] = said[s]
    if lengths == "top":
        data["len_list"] = said
    return data | {
        "dict": {
            "src": {},
            "tgt": {"<blank>": 0, "<unk>": 1, "<s>": 2, "</s>": 3}
            | {c: 4 + i for i, c in enumerate(names)},
        },
        "settings": argparse.Namespace(n=60),
    }


def annotation(f):
    return {
        "剧": {
            d: {
                "SpeakerInfo": {"A": {"Name": "甲"}},
                "Dialog": {
                    f"{d}_{t + 1}": {
                        "StartTime": "00:00:01:00",
                        "EndTime": "00:00:02:00",
                        "Text": f"words {t + 1}\nof {d}",
                        "Speaker": s,
                        "EmoAnnotation": {
                            "EmoAnnotator1": "x",
                            "final_main_emo": LABELS[c],
                            "final_mul_emo": LABELS[c],
                        },
                    }
                    for t, (s, c) in enumerate(zip(f[1][d], f[2][d], strict=True))
                },
            }
            for d in f[2]
        }
    }


def saved(path, value, how=4):
    if how in ("zip", "legacy"):
        torch.save(value, path, _use_new_zipfile_serialization=how == "zip")
    else:
        Path(path).write_bytes(pickle.dumps(value, how))
    return path


@np.errstate(over="ignore")
def clean(v):
    return np.nan_to_num(np.asarray(v, np.float64).astype("f4"), nan=0, posinf=0, neginf=0)


def check(store, f, ids=True, places=PLACES):
    "The store against the ten items, by loops."
    for s, named in zip(SPLITS, f[7:], strict=True):
        dialogues = [d for d in dict.fromkeys(named) if len(f[2][d])]
        part = store[s]
        assert part.id.tolist() == (
            dialogues if ids else [f"{s}-{i:04d}" for i in range(len(dialogues))]
        )
        b = part.batch(range(len(dialogues)))
        for k, d in enumerate(dialogues):
            assert set(np.flatnonzero(part.y[k])) == {int(c) for c in f[2][d]}
            for m, i in places.items():
                v = (
                    clean(np.stack(list(f[i][d])))[:60]
                    if d in f[i] and len(f[i][d])
                    else np.zeros((0, 1))
                )
                if not v.any():
                    v = v[:0]
                assert b.mask[m][k].sum() == len(v), (s, d, m)
                np.testing.assert_array_equal(
                    b.x[m][k, : len(v)].numpy(), v if len(v) else b.x[m][k, :0].numpy()
                )
            if "emotion" in part.extras:
                assert (
                    part.extra("emotion")[k].tolist()
                    == ([int(c) for c in f[2][d]][:60] + [-1] * 60)[:60]
                )


def prepared(tmp_path, f, how=4, **more) -> Store:
    return Store(
        prepare_m3ed(
            saved(tmp_path / "f.pkl", f, how),
            tmp_path / "s.h5",
            progress=False,
            overwrite=True,
            **more,
        )
    )


def report(store):
    return json.loads(store.attrs["report"])


# the ten items


def arrays(f):
    return [
        {d: np.stack(v) for d, v in x.items()} if i in (3, 4, 5) else x for i, x in enumerate(f)
    ]


def as_bytes(f):
    b = str.encode
    return [
        {b(d): v for d, v in x.items()} if isinstance(x, dict) else [b(d) for d in x] for x in f
    ]


def as_ints(f):
    n = {d: i for i, d in enumerate(f[0])}
    return [
        {n[d]: v for d, v in x.items()} if isinstance(x, dict) else [n[d] for d in x] for x in f
    ]


def swapped(f):
    return [*f[:4], f[5], f[4], *f[6:]]


def numpy_labels(f):
    return [
        *f[:2],
        {d: np.array(v) for d, v in f[2].items()},
        *f[3:7],
        *[np.array(v) for v in f[7:]],
    ]


def number_lists(f):
    return [
        {d: [u.tolist() for u in v] for d, v in x.items()} if i == 3 else x for i, x in enumerate(f)
    ]


def numpy_numbers(f):
    return [
        *f[:2],
        {d: [np.int64(c) for c in v] for d, v in f[2].items()},
        *f[3:7],
        *[tuple(v) for v in f[7:]],
    ]


def floats(f):
    return [*f[:2], {d: [float(c) for c in v] for d, v in f[2].items()}, *f[3:]]


@pytest.mark.parametrize("how", [0, 2, 4, 5, "zip", "legacy"])
@pytest.mark.parametrize(
    "change",
    [list, tuple, arrays, as_bytes, swapped, numpy_labels, number_lists, numpy_numbers, floats],
)
def test_ten_items(tmp_path, how, change):
    if how in ("zip", "legacy", 0, 5) and change not in (list, arrays):
        return
    f = ten()
    store = prepared(tmp_path, change(f), how)
    check(store, f)
    check_store(store.path)
    assert (
        store.name == "M3ED"
        and store.labels == LABELS
        and store.modalities == {"t": 768, "v": 342, "a": 1024}
        and store.splits == {"train": 5, "valid": 3, "test": 2}
    )
    r = report(store)
    assert json.loads((tmp_path / "s.report.json").read_text(encoding="utf-8")) == r and str(
        tmp_path
    ) not in str(store.attrs)
    assert any("usual places" in n for n in r["notes"]) == (change is swapped)
    assert r["splits"]["train"]["rows"] == 5 and r["splits"]["train"]["utterances"] == sum(
        len(f[2][d]) for d in f[7]
    )
    assert store["train"].extra("text")[0] == "\n".join(f[6][f[7][0]]) and store["train"].extra(
        "speaker"
    )[0] == "\n".join(f[1][f[7][0]])


def test_whole_numbers_as_ids(tmp_path):
    f = as_ints(ten())
    store = prepared(tmp_path, f)
    assert store["valid"].id.tolist() == ["5", "6", "7"]
    strings = [
        {str(d): v for d, v in x.items()} if isinstance(x, dict) else [str(d) for d in x] for x in f
    ]
    check(store, strings)
    sets = [*f[:7], set(f[7]), frozenset(f[8]), f[9]]
    check(prepared(tmp_path, sets), strings)  # a set comes in the order of the labels


def test_is10_and_double_precision(tmp_path):
    f = ten(widths=(768, 1582, 342), dtype="f8")
    f[4][f[7][0]][0][0] = 1e6  # beyond float16
    store = prepared(tmp_path, f)
    check(store, f)
    assert store.modalities["a"] == 1582
    check(prepared(tmp_path, swapped(f)), f)


def test_long_dialogues(tmp_path):
    f = ten()
    lengthen(f, f[7][1], 61, [6])
    lengthen(f, f[9][0], 131, [5, 1])
    lengthen(f, f[8][0], 60)
    store = prepared(tmp_path, arrays(f))
    check(store, f)
    assert store["test"].lengths["t"][0] == 60 and store["test"].y[0, 5] == 1
    r = report(store)["splits"]
    assert [r[s]["dialogues longer than 60"] for s in SPLITS] == [1, 0, 1] and [
        r[s]["utterances cut"] for s in SPLITS
    ] == [1, 0, 71]
    assert [r[s]["labels that occur past utterance 60 only"] for s in SPLITS] == [1, 0, 1]
    again = Store(
        prepare_m3ed(saved(tmp_path / "p.pt", padded(f), "zip"), tmp_path / "p.h5", progress=False)
    )
    check(again, f, ids=False)
    assert report(again)["splits"]["test"]["dialogues longer than 60"] == 1


def test_values_that_are_not_finite(tmp_path):
    f = ten()
    d = f[7][0]
    f[4][d][0][:4], f[5][d][1][0], f[3][f[9][0]][0][0] = (
        [-np.inf, np.inf, np.nan, -np.inf],
        np.nan,
        np.inf,
    )
    f[3][f[8][0]][0] = f[3][f[8][0]][0].astype("f8")
    f[3][f[8][0]][0][0] = 1e300  # infinite in float32
    store = prepared(tmp_path, f)
    check(store, f)
    r = report(store)["splits"]
    assert (
        r["train"]["not finite"]
        == {"v": {"-inf": 0, "+inf": 0, "nan": 1}, "a": {"-inf": 2, "+inf": 1, "nan": 1}}
        and r["test"]["not finite"]["t"]["+inf"] == 1
        and r["valid"]["not finite"]["t"]["+inf"] == 1
    )


def test_what_is_left_out_is_said(tmp_path):
    f = ten(sizes=(7, 3, 2))
    empty, faceless, nothing, zero, twice = f[7][:5]
    f[2][empty] = []
    for i in (1, 3, 4, 5, 6):
        f[i][empty] = []
    del f[5][faceless]
    for i in (3, 4, 5):
        del f[i][nothing]
    f[5][zero] = [v * 0 for v in f[5][zero]]
    f[7].append(twice)
    f[2]["nowhere"] = [1, 2]
    store = prepared(tmp_path, f)
    f[7].remove(nothing)
    check(store, f)
    notes = " ".join(report(store)["notes"])
    for said in (
        "1 dialogues have no utterance",
        f"no features of v, such as {faceless}",
        f"no features at all, such as {nothing}",
        "more than once",
        "in no split, such as nowhere",
    ):
        assert said in notes, (said, notes)
    assert (
        store["train"].present[:, 1].tolist().count(False) == 2
        and report(store)["splits"]["train"]["lengths"]["v"]["missing"] == 2
    )


def test_words_are_left_out_where_they_do_not_fit(tmp_path):
    f = ten()
    f[6][f[7][0]] = f[6][f[7][0]][:-1]
    f[1] = f[0]
    store = prepared(tmp_path, f)
    assert (
        store["train"].extras == ["emotion"]
        and "no words" in " ".join(report(store)["notes"])
        and "no speakers" in " ".join(report(store)["notes"])
    )
    f = ten()
    f[0], f[1] = f[1], f[0]  # speakers may be the first item
    assert prepared(tmp_path, f)["train"].extra("speaker")[0].startswith("A\nB")


def refusals():
    def d0(f):
        return f[7][0]

    def put(i, d, v):
        return lambda f: f[i].__setitem__(d(f), v(f[i][d(f)]) if callable(v) else v)

    yield "nine items", lambda f: f.pop(), "9 items"
    for bad in (7, -1, 10**400, 1.5, float("nan"), True, "1", None):
        yield f"label {bad!s:.9}", put(2, d0, lambda v, bad=bad: [bad, *v[1:]]), "utterance 1 has"
    yield "labels are a number", put(2, d0, 3), "should be a list with one label"
    yield "no labels for one", lambda f: f[2].pop(d0(f)), "have no labels"
    yield "labels no dictionary", lambda f: f.__setitem__(2, [1, 2]), "item 2 (labels)"
    for i in (3, 4, 5):
        yield f"item {i} shorter", put(i, d0, lambda v: v[:-1]), f"item {i}"
        yield f"item {i} no vectors", put(i, d0, "abc"), f"item {i}"
        yield f"item {i} text", put(i, d0, lambda v: ["a"] * len(v)), f"item {i}"
        yield f"item {i} ragged", put(i, d0, lambda v: [v[0][:5], *v[1:]]), "one width"
        yield (
            f"item {i} another width",
            put(i, d0, lambda v: [u[:5] for u in v]),
            "different widths",
        )
        yield f"item {i} three axes", put(i, d0, lambda v: np.zeros((len(v), 2, 3))), "shape"
        yield f"item {i} no width", put(i, d0, lambda v: np.zeros((len(v), 0))), "shape"
        yield f"item {i} strings", put(i, d0, lambda v: np.array([["a"]] * len(v))), "numbers"
        yield (
            f"item {i} is a list",
            lambda f, i=i: f.__setitem__(i, list(f[i].values())),
            f"item {i}",
        )
        yield (
            f"item {i} for others",
            lambda f, i=i: f.__setitem__(i, {d + "x": v for d, v in f[i].items()}),
            f"item {i}",
        )
    yield "a number too large", put(3, d0, lambda v: [[10**400] * 768] * len(v)), "too large"
    yield "the same widths", lambda f: f.__setitem__(4, f[5]), "does not tell"
    yield "in two splits", lambda f: f[8].append(d0(f)), "in train and in valid"
    yield "unknown id", lambda f: f[9].append("nobody"), "nobody"
    yield "odd id", lambda f: f[9].append((1, 2)), "tuple"
    yield (
        "unprintable id",
        lambda f: (f[2].__setitem__("a\nb", [1]), f[9].append("a\nb")),
        "not a name",
    )
    yield "id as text and bytes", lambda f: f[2].__setitem__(d0(f).encode(), [1]), "twice"
    yield "split is a number", lambda f: f.__setitem__(7, 5), "item 7"
    yield "no training", lambda f: f.__setitem__(7, []), "no dialogue in train"


@pytest.mark.parametrize("change, said", [pytest.param(c, s, id=n) for n, c, s in refusals()])
def test_refused(tmp_path, change, said):
    f = ten()
    change(f)
    path = saved(tmp_path / "f.pkl", f)
    text = message(lambda: prepare_m3ed(path, tmp_path / "s.h5", progress=False))
    assert said in text and "f.pkl" in text and len(text) < 600, text
    assert [p.name for p in tmp_path.iterdir()] == ["f.pkl"]


def test_other_files(tmp_path):
    for value in (5, "text", {"a": 1}, np.zeros(10), [None] * 10, {}):
        path = saved(tmp_path / "x.pkl", value)
        assert "x.pkl" in message(prepare_m3ed, path, tmp_path / "s.h5", progress=False)
    assert "no file" in message(lambda: prepare_m3ed(tmp_path / "y.pkl", tmp_path / "s.h5"))
    path = saved(tmp_path / "x.pkl", ten())
    assert "no file" in message(
        lambda: prepare_m3ed(path, tmp_path / "s.h5", annotation=tmp_path / "a.json")
    )
    prepare_m3ed(path, tmp_path / "s.h5", progress=False)
    assert "exists" in message(lambda: prepare_m3ed(path, tmp_path / "s.h5", progress=False))


def test_widths():
    for good, places in (
        ((768, 1024, 342), "tav"),
        ((768, 342, 1582), "tva"),
        ((1024, 768, 342), "tav"),
        ((768, 88, 342), "tav"),
        ((768, 1582, 49), "tav"),
        ((1582, 768, 342), "atv"),
    ):
        assert modalities_by_width(good) == {m: places.index(m) for m in "tva"}, good
    for bad in ((768, 1, 2), (768, 342, 342), (768, 1024, 1582), (342, 1024, 5), (342, 768, 768)):
        assert "does not tell" in message(modalities_by_width, bad)


# the padded file


@pytest.mark.parametrize(
    "how, swap, form, lengths, left",
    [
        ("zip", True, list, "split", False),
        ("legacy", True, np.stack, "top", False),
        (4, False, list, None, False),
        ("zip", False, np.stack, "split", True),
        (2, True, lambda v: torch.from_numpy(np.stack(v)), None, False),
    ],
)
def test_padded(tmp_path, how, swap, form, lengths, left):
    if how in (2, 4) and form not in (list, np.stack):
        form = np.stack
    f = lengthen(ten(), "剧0_1", 60)
    data = padded(f, swapped=swap, how=form, lengths=lengths, left=left)
    store = Store(
        prepare_m3ed(
            saved(tmp_path / "m3ed_data_60.pt", data, how), tmp_path / "s.h5", progress=False
        )
    )
    check(store, f, ids=False)
    assert (
        store.modalities == {"t": 768, "v": 342, "a": 1024}
        and any("usual places" in n for n in report(store)["notes"]) == swap
    )


def test_padded_labels_by_name(tmp_path):
    f = ten()
    order = ("Surprise", "Sad", "Neutral", "Fear", "Disgust", "Happy", "Anger")
    check(
        Store(
            prepare_m3ed(
                saved(tmp_path / "x.pt", padded(f, names=order), "zip"),
                tmp_path / "s.h5",
                progress=False,
            )
        ),
        f,
        ids=False,
    )
    data = padded(f)
    del data["dict"]
    store = Store(
        prepare_m3ed(
            saved(tmp_path / "x.pt", data, "zip"), tmp_path / "s.h5", progress=False, overwrite=True
        )
    )
    check(store, f, ids=False)
    assert "no dictionary of its labels" in " ".join(report(store)["notes"])


def test_padded_refused(tmp_path):
    def bad(change, said):
        data = padded(ten())
        change(data)
        text = message(
            lambda: prepare_m3ed(
                saved(tmp_path / "x.pt", data, "zip"), tmp_path / "s.h5", progress=False
            )
        )
        assert (
            said in text and "x.pt" in text and [p.name for p in tmp_path.iterdir()] == ["x.pt"]
        ), text

    bad(lambda d: d.pop("test"), "'test'")
    bad(lambda d: d["train"].pop("src-audio"), "src-audio")
    bad(lambda d: d["train"]["tgt"].pop(), "tgt")
    bad(lambda d: d["train"]["tgt"].__setitem__(0, [2, 11, 3]), "label id 11")
    bad(lambda d: d["train"]["tgt"].__setitem__(0, 5), "row 0")
    bad(lambda d: d["train"]["src-text"].pop(), "rows")
    bad(
        lambda d: d["valid"].__setitem__("src-text", [v[:, :5] for v in d["valid"]["src-text"]]),
        "width",
    )
    bad(
        lambda d: d["valid"].__setitem__("src-text", [v[:5] for v in d["valid"]["src-text"]]),
        "utterances per dialogue",
    )
    bad(lambda d: d["train"]["len_list"].__setitem__(0, 1), "len_list")
    bad(lambda d: d["train"]["len_list"].pop(), "len_list")
    bad(lambda d: d["dict"]["tgt"].__setitem__("bored", 11), "bored")
    bad(lambda d: d["dict"]["tgt"].pop("Fear"), "Fear")
    bad(lambda d: d["train"].__setitem__("src-audio", d["train"]["src-visual"]), "does not tell")
    path = saved(tmp_path / "x.pt", padded(ten()), "zip")
    (tmp_path / "a.json").write_text("{}")
    assert "no ids" in message(
        lambda: prepare_m3ed(path, tmp_path / "s.h5", annotation=tmp_path / "a.json")
    )


# the annotation


def annotated(tmp_path, f, a, **more):
    (tmp_path / "annotation.json").write_text(
        a if isinstance(a, str) else json.dumps(a, **more), encoding="utf-8"
    )
    return prepared(tmp_path, f, annotation=tmp_path / "annotation.json")


def test_annotation(tmp_path):
    f = lengthen(ten(), "剧0_1", 12)
    a = annotation(f)

    def check_words(store):
        check(store, f)
        for s, ids in zip(SPLITS, f[7:], strict=True):
            assert store[s].extra("text").tolist() == [
                "\n".join(f"words {t + 1} of {d}" for t in range(len(f[2][d]))) for d in ids
            ]
            assert store[s].extra("speaker").tolist() == ["\n".join(f[1][d]) for d in ids]

    check_words(annotated(tmp_path, f, a, ensure_ascii=False))
    check_words(annotated(tmp_path, f, a, sort_keys=True))  # "_10" before "_2"
    check_words(annotated(tmp_path, f, "﻿" + json.dumps(a)))
    check_words(annotated(tmp_path, f, a["剧"]))  # a level less
    check_words(annotated(tmp_path, f, {"M3ED": a}))  # a level more
    check_words(
        annotated(
            tmp_path,
            f,
            json.dumps(a)
            .replace('"Text"', '"text"')
            .replace('"Dialog"', '"dialog"')
            .replace('"Speaker"', '"speaker"'),
        )
    )
    store = annotated(tmp_path, f, json.dumps(a).replace("final_main_emo", "emo"))
    check_words(store)
    assert "no emotions that could be compared" in " ".join(report(store)["notes"])
    some = {"剧": {d: v for d, v in a["剧"].items() if d not in f[9]}}
    store = annotated(tmp_path, f, some)
    assert set(store["test"].extra("text")) == {
        "\n" * (len(f[2][f[9][0]]) - 1),
        "\n" * (len(f[2][f[9][1]]) - 1),
    } and "8 of 10 dialogues" in " ".join(report(store)["notes"])
    one = json.loads(json.dumps(a))
    u = one["剧"][f[7][0]]["Dialog"][f"{f[7][0]}_1"]
    u["EmoAnnotation"]["final_main_emo"] = LABELS[(f[2][f[7][0]][0] + 1) % 7]
    del u["Text"]
    notes = " ".join(report(annotated(tmp_path, f, one))["notes"])
    assert "utterance 1:" in notes and "1 utterances have no words" in notes


def renumbered(a, f, emotions=True):
    "Ids that begin with a number that is not the order, such as 2_series_1_5; keys in order."
    out = {}
    for d, v in a["剧"].items():
        n = len(v["Dialog"])
        keys = [f"{(3 * t) % n}_{d}_{t + 1}" for t in range(n)]
        out[d] = {"Dialog": dict(zip(keys, v["Dialog"].values(), strict=True))}
        for u in out[d]["Dialog"].values():
            if not emotions:
                u.pop("EmoAnnotation")
    return {"剧": out}


def backwards(a, d, emotions=True):
    "The utterances of a dialogue with numbers that fall, in the right order."
    n = len(a["剧"][d]["Dialog"])
    keys = [f"{d}_{n - t}" for t in range(n)]
    a["剧"][d]["Dialog"] = dict(zip(keys, a["剧"][d]["Dialog"].values(), strict=True))
    for v in a["剧"].values():
        for u in v["Dialog"].values():
            if not emotions:
                u.pop("EmoAnnotation")
    return a


@pytest.mark.parametrize("emotions", [True, False])
def test_a_leading_number_that_is_not_the_order(tmp_path, emotions):
    f = lengthen(ten(), "剧0_1", 12)
    store = annotated(tmp_path, f, renumbered(annotation(f), f, emotions))
    for s, ids in zip(SPLITS, f[7:], strict=True):
        words = [[f"words {t + 1} of {d}" for t in range(len(f[2][d]))] for d in ids]
        assert [v.split("\n") for v in store[s].extra("text")] == words
        assert [v.split("\n") for v in store[s].extra("speaker")] == [f[1][d] for d in ids]
    assert "another order" not in " ".join(report(store)["notes"])


def test_an_order_that_contradicts_the_numbers_is_said(tmp_path):
    f = ten(lengths=(6, 9))
    d = f[7][0]
    # only one dialogue of ten: too few emotions differ to refuse the numbers
    f[2][d] = [1] * len(f[2][d])
    store = annotated(tmp_path, f, backwards(annotation(f), d))
    notes = " ".join(report(store)["notes"])
    assert f"In 1 dialogues of annotation.json, such as {d}" in notes
    assert "taken by their numbers; their emotions agree" in notes
    store = annotated(tmp_path, f, backwards(annotation(f), d, emotions=False))
    notes = " ".join(report(store)["notes"])
    assert "another order than the numbers" in notes
    assert "nothing can confirm that order for 1 of these dialogues" in notes


def test_emotions_tell_which_order_is_right(tmp_path):
    f = ten(lengths=(6, 9))
    a = annotation(f)
    for d in f[0]:
        a = backwards(a, d)
    store = annotated(tmp_path, f, a)
    d = f[7][0]
    assert store["train"].extra("text")[0].split("\n") == [
        f"words {t + 1} of {d}" for t in range(len(f[2][d]))
    ]
    notes = " ".join(report(store)["notes"])
    assert "In 10 dialogues" in notes and "taken as they stand" in notes


def test_annotation_refused(tmp_path):
    f = ten()

    def bad(change, said):
        a = annotation(f)
        text = message(lambda: annotated(tmp_path, f, change(a)))
        assert (
            said in text
            and "annotation.json" in text
            and sorted(p.name for p in tmp_path.iterdir()) == ["annotation.json", "f.pkl"]
        ), text

    def shorter(a):
        a["剧"][f[7][0]]["Dialog"].popitem()
        return a

    def moved(a):
        others = sorted(f[0], key=lambda d: (len(f[2][d]), d))
        return {"剧": {d: a["剧"][o] for d, o in zip(f[0], others, strict=True)}}

    bad(shorter, "utterances")
    bad(lambda a: {"剧": {d + "x": v for d, v in a["剧"].items()}}, "none of the dialogues")
    bad(
        lambda a: annotation([*f[:2], {d: [(c + 1) % 7 for c in v] for d, v in f[2].items()}]),
        "another emotion",
    )
    bad(lambda a: {"x": 1}, "no dialogue")
    bad(lambda a: "[1, 2", "not JSON")
    bad(lambda a: "[" * 100000, "not JSON")
    bad(lambda a: '{"a": 1, "a": 2}', "twice")
    bad(lambda a: {"剧": a["剧"], "other": {f[7][0]: a["剧"][f[7][0]]}}, "twice")
    bad(lambda a: {"剧": {f[7][0]: {"Dialog": {"1": 5}}}}, "dictionary for each utterance")
    bad(lambda a: '{"a": ' + "9" * 5000 + "}", "not JSON")


@pytest.mark.parametrize(
    "write, said",
    [
        (lambda a: json.dumps(a, ensure_ascii=False).encode("gbk"), "not JSON"),
        (lambda a: "\n".join(json.dumps({d: v}) for d, v in a.items()).encode(), "not JSON"),
        (lambda a: json.dumps(list(a.values())).encode(), "nothing in it has a 'Dialog'"),
        (lambda a: json.dumps({d: {"A": "friend of B"} for d in a}).encode(), "has a 'Dialog'"),
    ],
    ids=["another encoding", "JSON lines", "a list", "the release's file of relations"],
)
def test_other_forms_of_an_annotation(tmp_path, write, said):
    f = ten()
    (tmp_path / "annotation.json").write_bytes(write(annotation(f)["剧"]))
    text = message(lambda: prepared(tmp_path, f, annotation=tmp_path / "annotation.json"))
    assert said in text and "annotation.json" in text and "Traceback" not in text, text
    assert not (tmp_path / "s.h5").exists()


# hostile and damaged files: an error or the right store, nothing run, nothing left


@pytest.mark.parametrize("where", ["item", "key", "container"])
def test_hostile(tmp_path, where):
    for how in (2, 4, "zip", "legacy"):
        f = padded(ten()) if where == "container" else ten()
        call = Call(Path.touch, tmp_path / "ran")
        if where == "item":
            f[6] = call
        elif where == "key":
            f[3][f[7][0]][0] = call
        else:
            f["settings"] = call
        said = message(prepare_m3ed, saved(tmp_path / "x.pkl", f, how), tmp_path / "s.h5")
        assert "touch" in said or "getattr" in said, said
        assert [p.name for p in tmp_path.iterdir()] == ["x.pkl"]


@pytest.fixture
def narrow(monkeypatch):
    "Widths of a few numbers, so that a damaged byte often is one of the program."
    monkeypatch.setattr(m3ed, "_FACE", (3,))
    monkeypatch.setattr(m3ed, "_VOICE", (4,))
    return ten(sizes=(2, 2, 2), widths=(6, 4, 3), lengths=(2, 4))


def fuzz(tmp_path, whole, import_, right, times=200, n=6):
    "Import damaged copies; `right` judges what is accepted."
    text = np.frombuffer(whole, np.uint8)
    letters, refused = np.flatnonzero((text > 31) & (text < 127) | (text == 0x80)), 0
    for i in range(times):
        bad, out = damaged(whole, i, letters if i % 3 else None), tmp_path / "out" / "s.h5"
        (tmp_path / "bad").write_bytes(bad)
        out.parent.mkdir(exist_ok=True)
        try:
            import_(tmp_path / "bad", out)
        except CaratError as e:
            refused += 1
            assert list(out.parent.iterdir()) == [] and 20 < len(str(e)) < 1500
            continue
        store = Store(out)
        assert (
            store.labels == LABELS
            and set(store.splits) <= set(SPLITS)
            and sorted(p.name for p in out.parent.iterdir()) == ["s.h5", "s.report.json"]
        )
        check_store(out)
        right(store, bad)
        for p in out.parent.iterdir():
            p.unlink()
    assert refused > times // 4, refused


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::RuntimeWarning"
)
@pytest.mark.parametrize("how", [0, 4])
def test_damaged_pickles(tmp_path, narrow, how):
    judged = 0

    def right(store, bad):
        nonlocal judged
        try:
            f = Careful(io.BytesIO(bad), encoding="utf-8").load()
        except Exception:
            return  # refused by Python for a reason that does not matter to data
        f = [
            {k.decode() if isinstance(k, bytes) else str(k).strip(): v for k, v in x.items()}
            if isinstance(x, dict)
            else [str(d).strip() for d in x]
            if i > 6
            else x
            for i, x in enumerate(f)
        ]
        if not all(d in f[i] for i in (2, 3, 4, 5) for ids in f[7:] for d in ids):
            return  # what is left out has its own test
        check(
            store,
            f,
            places={
                m: next(i for i in (3, 4, 5) if len(next(iter(f[i].values()))[0]) == w)
                for m, w in store.modalities.items()
            },
        )
        judged += 1

    fuzz(
        tmp_path,
        saved(tmp_path / "good", narrow, how).read_bytes(),
        lambda p, out: prepare_m3ed(p, out, progress=False),
        right,
    )
    assert judged > 4, judged


@pytest.mark.slow
@pytest.mark.parametrize("how", ["zip", "legacy"])
def test_damaged_padded_files(tmp_path, narrow, how):
    whole = saved(tmp_path / "good", padded(narrow, T=5), how).read_bytes()

    def right(store, bad):
        assert store.splits == dict.fromkeys(SPLITS, 2)
        if how == "zip":
            check(store, narrow, ids=False)  # what passes the checksums is what was written

    fuzz(tmp_path, whole, lambda p, out: prepare_m3ed(p, out, progress=False), right)


@pytest.mark.slow
def test_damaged_annotations(tmp_path, narrow):
    path, whole = (
        saved(tmp_path / "good.pkl", narrow),
        json.dumps(annotation(narrow), ensure_ascii=False).encode(),
    )

    def right(store, bad):
        check(store, narrow)
        tree = json.loads(bad.decode("utf-8-sig"))
        said = {
            " ".join(str(v).replace("\0", "").encode("utf-8", "replace").decode().split())
            for v in leaves(tree)
        } | {""}
        for s in SPLITS:
            for text in (*store[s].extra("text"), *store[s].extra("speaker")):
                assert set(text.split("\n")) <= said

    fuzz(
        tmp_path, whole, lambda p, out: prepare_m3ed(path, out, annotation=p, progress=False), right
    )


def leaves(v):
    if isinstance(v, dict):
        v = v.values()
    elif not isinstance(v, list):
        yield v
        return
    for u in v:
        yield from leaves(u)


def test_command_line(tmp_path, capsys):
    f = ten()
    path = saved(tmp_path / "f.pkl", swapped(f))
    (tmp_path / "annotation.json").write_text(json.dumps(annotation(f)))
    assert (
        cli.main(
            [
                "prepare",
                "m3ed",
                "--features",
                str(path),
                "--out",
                str(tmp_path / "s.h5"),
                "--annotation",
                str(tmp_path / "annotation.json"),
            ]
        )
        == 0
    )
    check(Store(tmp_path / "s.h5"), f)
    assert "usual places" in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:-500])
    assert (
        cli.main(["prepare", "m3ed", "--features", str(path), "--out", str(tmp_path / "t.h5")]) != 0
        and not (tmp_path / "t.h5").exists()
    )
