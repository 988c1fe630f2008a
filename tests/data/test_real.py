"The real files of MOSEI, in a layout of this project's own."

import csv
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from faults import swap

from bench.real import prepare_real
from carat.core import CaratError
from carat.data.store import Store, check_store

LABELS = ["happy", "sad", "anger", "surprise", "disgust", "fear"]
HEADER = ["video_id", "clip_id", "segment_id", "start", "end", "text", "sentiment", *LABELS]


def message(f) -> str:
    with pytest.raises(CaratError) as e:
        f()
    return str(e.value)


# the real files: written here after their description, and not with the code under test


def real_split(folder, split, n, seed, texts=True):
    rng = np.random.default_rng(seed)
    words, seen = rng.integers(1, 12, n), rng.random(n) < 0.3
    data = dict(
        ids=[f"-vid_{split}{i // 3}[{i % 3}]" for i in range(n)],
        y=np.float32(rng.integers(0, 10, (n, 6)) / 3 * (rng.random((n, 6)) < 0.3)),
        t=rng.integers(-127, 128, (words.sum(), 96)).astype(np.int8),
        scale=np.float32(rng.uniform(0.01, 0.1, 96)),
        words=words,
        seen=seen,
        v=rng.normal(size=(seen.sum(), 35)).astype(np.float32) * 900,
        a=rng.normal(size=(seen.sum(), 39)).astype(np.float32),
        text=[f'They said "{i}",\nand an é.' for i in range(n)],
    )
    with h5py.File(folder / f"mosei_real_{split}.h5", "w") as f:
        f.attrs["labels"] = np.array(LABELS, dtype=object)
        f["id"] = np.array(data["ids"], "S")
        f["video"] = np.array([i.split("[")[0] for i in data["ids"]], "S")
        f["start"] = f["end"] = np.zeros(n, np.float32)
        f["y"] = data["y"]
        f.create_dataset("t/values", data=data["t"], chunks=True, compression="gzip")
        f["t/scale"], f["t/offsets"] = data["scale"], np.r_[0, np.cumsum(words)]
        for m in "va":
            f[f"{m}/values"], f[f"{m}/offsets"] = data[m], np.r_[0, np.cumsum(seen)]
    if texts:
        with open(
            folder / f"mosei_text_emotions_{split}.csv", "w", newline="", encoding="utf-8"
        ) as f:
            w = csv.writer(f)
            w.writerow(HEADER)
            for i, name in enumerate(data["ids"]):
                w.writerow(
                    [
                        name[:-3],
                        name[-2],
                        i,
                        0,
                        1,
                        data["text"][i],
                        0,
                        *(f"{v:.7g}" for v in data["y"][i]),
                    ]
                )
    return data


@pytest.fixture
def real(tmp_path):
    folder = tmp_path / "real"
    folder.mkdir()
    return folder, {
        "train": real_split(folder, "train", 30, 0),
        "valid": real_split(folder, "valid", 12, 1),
    }


@pytest.mark.parametrize("third", [False, True])
def test_prepare_real(real, tmp_path, third):
    folder, data = real
    if third:
        data["test"] = real_split(folder, "test", 9, 2, texts=False)
    out = prepare_real(folder, tmp_path / "out" / "mosei.h5", progress=False)
    s = Store(out)
    assert (
        s.labels == tuple(LABELS)
        and s.modalities == {"t": 96, "v": 35, "a": 39}
        and list(s.splits) == list(data)
    )
    check_store(out)
    for split, d in data.items():
        got, k = s[split], s[split].batch(range(len(d["ids"])))
        assert (
            k.id == d["ids"]
            and np.array_equal(got.intensity, d["y"])
            and np.array_equal(got.y, d["y"] > 0)
        )
        assert np.array_equal(
            got.present, np.stack([d["words"] > 0, d["seen"], d["seen"]], 1)
        ) and np.array_equal(got.lengths["t"], d["words"])
        assert np.array_equal(
            k.x["t"][k.mask["t"]], np.float16(d["t"] * d["scale"]).astype(np.float32)
        )
        assert np.array_equal(k.x["v"][k.mask["v"]], d["v"]) and np.array_equal(
            k.x["a"][k.mask["a"]], d["a"]
        )
        assert got.text == ([""] * 9 if split == "test" else d["text"]) and got.extra(
            "video"
        ).tolist() == [i.split("[")[0] for i in d["ids"]]


def test_prepare_real_without_texts(real, tmp_path):
    assert (
        Store(prepare_real(real[0], tmp_path / "s.h5", text=False, progress=False))["train"].text
        is None
    )
    for f in real[0].glob("*.csv"):
        f.unlink()
    assert (
        Store(prepare_real(real[0], tmp_path / "s.h5", overwrite=True, progress=False))[
            "train"
        ].text
        is None
    )


def h5(change, split="train"):
    def go(folder):
        with h5py.File(folder / f"mosei_real_{split}.h5", "r+") as f:
            change(f)

    return go


def table(change):
    "Change the rows of the training transcripts."

    def go(folder):
        path = folder / "mosei_text_emotions_train.csv"
        rows = list(csv.reader(open(path, encoding="utf-8", newline="")))
        rows = change(rows) or rows
        with open(path, "w", newline="", encoding="utf-8") as f:
            csv.writer(f).writerows(rows)

    return go


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda folder: [f.unlink() for f in folder.glob("*.h5")], ("mosei_real_train.h5",)),
        (
            lambda folder: (folder / "mosei_real_valid.h5").write_bytes(
                (folder / "mosei_real_valid.h5").read_bytes()[:3000]
            ),
            ("mosei_real_valid.h5", "truncated"),
        ),
        (
            lambda folder: (folder / "mosei_real_train.h5").write_text("<html>404</html>"),
            ("mosei_real_train.h5", "signature"),
        ),
        (
            lambda folder: (folder / "mosei_text_emotions_train.csv").write_bytes(b"\xff\xfe\x00"),
            ("mosei_text_emotions_train.csv",),
        ),
        (h5(lambda f: f.pop("a")), ("mosei_real_train.h5", "'a/values'")),
        (h5(lambda f: f.attrs.pop("labels")), ("mosei_real_train.h5", "labels")),
        (
            h5(lambda f: f.attrs.modify("labels", np.array(LABELS[::-1], object)), "valid"),
            ("mosei_real_valid.h5", "fear"),
        ),
        (h5(swap("v/values", lambda v: v[:, :30]), "valid"), ("mosei_real_valid.h5", "'v': 30")),
        (h5(swap("v/offsets", lambda v: v[::-1].copy())), ("'v'", "offsets")),
        (h5(swap("t/values", lambda v: v[:-1])), ("'t'", "rows of values")),
        (h5(swap("t/scale", lambda v: v[:-1])), ("'t/scale'", "(96,)")),
        (h5(swap("y", lambda v: v[:, :5])), ("(30, 5)", "(30, 6)")),
        (h5(swap("id", lambda v: np.r_[v[:1], v[:-1]])), ("-vid_train0[0]",)),
        (
            h5(
                swap(
                    "a/values",
                    lambda v: np.where(np.arange(len(v))[:, None] == 2, -np.inf, v).astype(
                        np.float32
                    ),
                )
            ),
            ("'a'", "-inf", "-vid_train"),
        ),
        (table(lambda r: r[:-1]), ("29 rows", "30")),
        (
            table(lambda r: [r[0], r[2], r[1], *r[3:]]),
            ("line 2", "-vid_train0[1]", "-vid_train0[0]"),
        ),
        (
            table(lambda r: r[4].__setitem__(HEADER.index("fear"), "2.5")),
            ("line 5", "'fear'", "2.5"),
        ),
        (table(lambda r: r[4].__setitem__(HEADER.index("fear"), "much")), ("line 5", "much")),
        (table(lambda r: r[0].__setitem__(HEADER.index("text"), "words")), ("'text'",)),
    ],
)
def test_prepare_real_refuses(real, tmp_path, damage, words):
    damage(real[0])
    out = tmp_path / "out"
    out.mkdir()
    said = message(lambda: prepare_real(real[0], out / "s.h5", progress=False))
    assert all(w in said for w in words), said
    assert list(out.iterdir()) == []


def test_prepare_real_says_where_it_looked(tmp_path):
    assert "nowhere" in message(lambda: prepare_real(tmp_path / "nowhere", tmp_path / "s.h5"))


def test_prepare_real_on_the_real_files(tmp_path):
    folder = Path(os.environ.get("CARAT_DATA", "") or tmp_path)
    if not (folder / "mosei_real_train.h5").exists():
        pytest.skip("CARAT_DATA names no folder with mosei_real_train.h5")
    out = prepare_real(folder, tmp_path / "mosei.h5", progress=False)
    report = check_store(out, splits=("train", "valid"))
    assert report["train"]["samples"] == 16326 and report["valid"]["samples"] == 1871
    assert report["train"]["positives"] == dict(
        happy=8733, sad=4269, anger=3524, surprise=1642, disgust=2954, fear=1331
    )
    assert (
        0.28 < report["train"]["present"]["v"] / 16326 < 0.30
        and report["train"]["steps"]["t"][1] == 60
    )
    s = Store(out)["valid"]
    with h5py.File(folder / "mosei_real_valid.h5") as f:
        o, i = f["t/offsets"][:], 1000
        expected = f["t/values"][o[i] : o[i + 1]] * f["t/scale"][:]
    np.testing.assert_allclose(s.batch([i]).x["t"][0], expected, rtol=1e-3, atol=1e-6)
    if s.text:
        assert len(s.text[i].split()) == o[i + 1] - o[i]
