"Data in: the real files of MOSEI in their own layout, and anybody's arrays."

import csv
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from test_store import swap

from carat.data import store as module
from carat.core import CaratError
from carat.data.store import Store, check_store, prepare_arrays, prepare_real

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


# anybody's arrays


def arrays(n=20, seed=0):
    rng = np.random.default_rng(seed)
    length = rng.integers(0, 6, n)
    return dict(
        id=[f"s{i}" for i in range(n)],
        split=np.array(["train", "valid", "test"])[np.arange(n) % 3],
        y=rng.integers(0, 2, (n, 2)),
        labels=["joy", "awe"],
        voice=rng.normal(size=(n, 5, 3)).astype(np.float32),
        voice_length=length,
        face=rng.normal(size=(n, 4)),
        face_mask=rng.random(n) < 0.5,
    )


def saved(source, path):
    if path.suffix == ".npz":
        np.savez(path, **source)
    else:
        with h5py.File(path, "w") as f:
            for k, v in source.items():
                f[k] = np.array(v, "S") if np.asarray(v).dtype.kind == "U" else v
    return path


@pytest.mark.parametrize("kind", ["python", "tensors", ".npz", ".h5"])
@pytest.mark.parametrize("block", [1, 1 << 26])
def test_prepare_arrays(tmp_path, kind, block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    given = arrays()
    source = saved(given, tmp_path / f"mine{kind}") if kind[0] == "." else given
    if kind == "tensors":
        source = given | {
            k: torch.as_tensor(given[k])
            for k in ("y", "voice", "voice_length", "face", "face_mask")
        }
    s = Store(prepare_arrays(source, tmp_path / "s.h5", progress=False))
    assert (
        s.labels == ("joy", "awe")
        and dict(s.modalities) == {"face": 4, "voice": 3}
        and s.splits == {"train": 7, "valid": 7, "test": 6}
    )
    for k, split in enumerate(s.splits):
        rows = np.arange(k, 20, 3)
        b = s[split].batch(range(len(rows)))
        assert b.id == [f"s{i}" for i in rows] and np.array_equal(b.y, given["y"][rows])
        assert np.array_equal(b.lengths["voice"], given["voice_length"][rows]) and np.array_equal(
            b.present[:, list(s.modalities).index("face")], given["face_mask"][rows]
        )
        for j, i in enumerate(rows):
            n = given["voice_length"][i]
            assert np.array_equal(b.x["voice"][j, :n], given["voice"][i, :n])
            if given["face_mask"][i]:
                assert np.array_equal(b.x["face"][j, 0], given["face"][i].astype(np.float32))


def test_order_of_modalities(tmp_path):
    given = {k: v for k, v in arrays().items() if "face" not in k and "voice" not in k} | {
        m: np.ones((20, 2)) for m in ("a", "x", "v", "t")
    }
    order = lambda source, **more: list(
        Store(
            prepare_arrays(source, tmp_path / "s.h5", overwrite=True, progress=False, **more)
        ).modalities
    )
    assert order(saved(given, tmp_path / "m.h5")) == ["t", "v", "a", "x"] == order(given)
    assert order(given, modalities=["x", "a"]) == ["x", "a"]
    assert order(given | {"modalities": ["a", "t", "v"]}) == ["a", "t", "v"]


def test_a_store_is_a_source_too(tmp_path):
    first = prepare_arrays(
        arrays() | {"text": [f"word {i}" for i in range(20)]}, tmp_path / "a.h5", progress=False
    )
    second = prepare_arrays(first, tmp_path / "b.h5", dtype="float16", progress=False)
    assert check_store(first) == check_store(second) and Store(second)["valid"].text == [
        f"word {i}" for i in range(1, 20, 3)
    ]
    assert "source itself" in message(lambda: prepare_arrays(first, first, overwrite=True))
    check_store(first)


def test_values_that_are_not_finite(tmp_path):
    given = arrays()
    i = int(np.flatnonzero(given["voice_length"] > 2)[0])
    given["voice"][i, 1, 2] = -np.inf
    given["voice"][:, -1] = np.where(
        given["voice_length"][:, None] < 5, np.nan, given["voice"][:, -1]
    )  # padding may hold anything
    said = message(lambda: prepare_arrays(given, tmp_path / "s.h5", progress=False))
    assert (
        all(w in said for w in (f"'s{i}'", "'voice'", "step 1", "column 2", "-inf"))
        and not (tmp_path / "s.h5").exists()
    )
    s = Store(prepare_arrays(given, tmp_path / "s.h5", nonfinite="zero", progress=False))
    assert (
        sum(float(b.x["voice"].abs().sum().isfinite()) for k in s.splits for b in s[k].batches(50))
        == 3
    )


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda g: g.pop("y"), ("'y'",)),
        (lambda g: g.pop("labels"), ("labels",)),
        (lambda g: g.pop("split"), ("'split'",)),
        (lambda g: g.pop("voice_length"), ("'voice'", "voice_length", "voice_mask")),
        (lambda g: g.update(labels=["joy"]), ("2 columns", "1 labels")),
        (lambda g: g.update(y=g["y"][:, 0]), ("(20,)", "(N, C)")),
        (lambda g: g.update(y=g["y"][:-1]), ("19",)),
        (lambda g: g.update(id=g["id"][:-1] + ["s16"]), ("'s16'", "twice")),
        (lambda g: g.update(split=g["split"][:-1]), ("'split'", "19")),
        (lambda g: g.update(voice=g["voice"][:-1]), ("'voice'", "19 samples")),
        (lambda g: g.update(voice=g["voice"][..., None]), ("'voice'", "(20, 5, 3, 1)")),
        (lambda g: g.update(voice_length=g["voice_length"] + 3), ("'voice_length'", "5 steps")),
        (lambda g: g.update(voice_length=-g["voice_length"]), ("'voice_length'", "-")),
        (lambda g: g.update(voice_length=g["voice_length"] * 0.5), ("'voice_length'", "float64")),
        (lambda g: g.update(voice_mask=np.ones((20, 4))), ("'voice_mask'", "(20, 5)")),
        (lambda g: g.update(face_values=np.ones((7, 4))), ("'face_values'", "face_offsets")),
        (
            lambda g: g.update(face_values=np.ones((7, 4)), face_offsets=np.arange(21)),
            ("'face'", "to 20", "7 rows"),
        ),
        (
            lambda g: g.update(
                face_values=np.ones((20, 4)), face_offsets=np.r_[0, 5, 3, np.arange(3, 21)]
            ),
            ("'face'", "fall after row 1"),
        ),
        (lambda g: [g.pop(k) for k in list(g) if "face" in k or "voice" in k], ("no modality",)),
    ],
)
@pytest.mark.parametrize("kind", ["python", ".npz", ".h5"])
def test_prepare_arrays_refuses(tmp_path, change, words, kind):
    given = arrays()
    change(given)
    source = saved(given, tmp_path / f"mine{kind}") if kind[0] == "." else given
    said = message(lambda: prepare_arrays(source, tmp_path / "s.h5", progress=False))
    assert all(w in said for w in words), said
    assert [p.name for p in tmp_path.iterdir()] == ([f"mine{kind}"] if kind[0] == "." else [])


def test_lists_of_unequal_widths(tmp_path):
    given = {k: v for k, v in arrays().items() if "voice" not in k} | {
        "voice": [np.ones((2, 3))] * 19 + [np.ones((2, 4))]
    }
    assert "[3, 4]" in message(lambda: prepare_arrays(given, tmp_path / "s.h5", progress=False))
    assert "20" in message(
        lambda: prepare_arrays(given | {"voice": [None]}, tmp_path / "s.h5", progress=False)
    )


def test_files_that_cannot_be_read(tmp_path):
    make = lambda source: message(lambda: prepare_arrays(source, tmp_path / "s.h5", progress=False))
    assert "nothing.npz" in make(tmp_path / "nothing.npz")
    (tmp_path / "empty").mkdir()
    assert "empty" in make(tmp_path / "empty")
    for name in ("bad.npz", "bad.h5"):
        (tmp_path / name).write_bytes(b"PK\3\4 not really")
        assert name in make(tmp_path / name)
    whole = saved(arrays(), tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    assert "cut.npz" in make(tmp_path / "cut.npz")
    assert not (tmp_path / "s.h5").exists()


def test_flipped_bytes_of_an_npz_are_an_error_or_the_right_answer(tmp_path):
    whole = np.fromfile(saved(arrays(), tmp_path / "good.npz"), np.uint8)
    right, refused = (
        check_store(prepare_arrays(tmp_path / "good.npz", tmp_path / "good.h5", progress=False)),
        0,
    )
    for i in range(200):
        rng, bad = np.random.default_rng(i), whole.copy()
        bad[rng.integers(0, len(bad), 1 + i % 4)] = rng.integers(0, 256)
        bad[: rng.integers(len(bad))].tofile(tmp_path / "bad.npz") if i % 10 == 0 else bad.tofile(
            tmp_path / "bad.npz"
        )
        try:
            made = prepare_arrays(
                tmp_path / "bad.npz", tmp_path / "bad.h5", overwrite=True, progress=False
            )
        except CaratError:
            refused += 1
        else:
            assert check_store(made) == right
    assert refused > 150


def test_pickled_objects_are_never_loaded(tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harmed",))

    bad = np.empty(20, object)
    bad[:] = Harm()
    np.savez(tmp_path / "harm.npz", **(arrays() | {"voice": bad}))
    assert "run code" in message(
        lambda: prepare_arrays(tmp_path / "harm.npz", tmp_path / "s.h5", progress=False)
    )
    folder = tmp_path / "harm"
    folder.mkdir()
    np.save(folder / "voice.npy", bad)
    assert "harm" in message(lambda: prepare_arrays(folder, tmp_path / "s.h5", progress=False))
    assert not (tmp_path / "harmed").exists()
