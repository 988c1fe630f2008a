"Anybody's arrays."

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from carat.core import CaratError
from carat.data import arrays as module
from carat.data.arrays import prepare_arrays
from carat.data.report import Report
from carat.data.store import Store, check_store
from carat.data.writer import StoreWriter


def message(f) -> str:
    with pytest.raises(CaratError) as e:
        f()
    return str(e.value)


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

    def order(source, **more):
        made = prepare_arrays(source, tmp_path / "s.h5", overwrite=True, progress=False, **more)
        return list(Store(made).modalities)

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

    def make(source):
        return message(lambda: prepare_arrays(source, tmp_path / "s.h5", progress=False))

    assert "nothing.npz" in make(tmp_path / "nothing.npz")
    (tmp_path / "empty").mkdir()
    assert "empty" in make(tmp_path / "empty")
    for name in ("bad.npz", "bad.h5"):
        (tmp_path / name).write_bytes(b"PK\3\4 not really")
        assert name in make(tmp_path / name)
    whole = saved(arrays(), tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    assert "cut.npz" in make(tmp_path / "cut.npz")
    (tmp_path / "mine.pkl").write_bytes(pickle.dumps(arrays()))
    torch.save({"t": torch.zeros(2)}, tmp_path / "mine.npz")
    np.save(tmp_path / "one.npy", np.zeros(2))
    for name, words in (
        ("mine.pkl", "is a pickle: `carat prepare mosei`"),
        ("mine.npz", "is a file of torch.save: `carat prepare mosei`"),
        ("one.npy", "is a NumPy array: put it into a folder"),
    ):
        said = make(tmp_path / name)
        assert words in said and name in said and "signature" not in said, said
    assert not (tmp_path / "s.h5").exists()


def test_an_npz_by_another_name(tmp_path):
    saved(arrays(), tmp_path / "mine.npz").rename(tmp_path / "mine.zip")
    first, _ = made(tmp_path / "mine.zip", tmp_path / "a.h5")
    assert check_store(first.path) == check_store(made(arrays(), tmp_path / "b.h5")[0].path)


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


# an array is what its type says


def made(source, path, **more):
    "A store of these arrays, and what its report says."
    store = Store(prepare_arrays(source, path, overwrite=True, progress=False, **more))
    return store, str(Report.from_json(store.attrs["report"]))


@pytest.mark.parametrize("kind", ["python", ".npz", ".h5", "folder"])
def test_numbers_are_features_and_strings_are_not(tmp_path, kind):
    rng = np.random.default_rng(0)
    text, video = rng.normal(size=(20, 9)).astype("f4"), rng.normal(size=(20, 3, 4)).astype("f4")
    given = arrays() | {
        "text": text,
        "video": video,
        "video_length": np.full(20, 3),
        "transcript": np.array([f"wörd {i}" for i in range(20)]),
        "speaker": np.arange(20) % 4,
        "age": np.linspace(20, 40, 20),
    }
    source = given
    if kind == "folder":
        source = tmp_path / "mine"
        source.mkdir()
        for k, v in given.items():
            np.save(source / f"{k}.npy", v)
    elif kind != "python":
        for k in ("id", "labels", "split", "transcript"):
            given[k] = np.array([str(v).encode() for v in given[k]])
        source = saved(given, tmp_path / f"mine{kind}")
    store, said = made(source, tmp_path / "s.h5")
    assert dict(store.modalities) == {"text": 9, "face": 4, "video": 4, "voice": 3}
    train, rows = store["train"], np.arange(0, 20, 3)
    batch = train.batch(range(7))
    assert np.array_equal(batch.x["text"][:, 0], text[rows])
    assert np.array_equal(batch.x["video"], video[rows])
    assert train.text is None and sorted(train.extras) == ["age", "speaker", "transcript"]
    assert train.extra("speaker").tolist() == (rows % 4).tolist()
    assert train.extra("age").dtype == np.float64
    if kind == "python":
        assert train.extra("transcript").tolist() == [f"wörd {i}" for i in rows]
    for line in (
        "'text': features, (N, 9) float32, one step per sample",
        "'video': features, (N, 3, 4) float32, padded, with 'video_length'",
        "'face': features, (N, 4) float64, one step per sample",
        "'transcript': strings, one per sample; kept with the samples, not a feature",
        "'speaker': numbers, one per sample; kept with the samples, not a feature",
    ):
        assert line in said, (line, said)


def test_a_modality_called_text_travels_on(tmp_path):
    given = arrays() | {"text": np.random.default_rng(0).normal(size=(20, 9))}
    first, _ = made(given, tmp_path / "a.h5")
    second, _ = made(first.path, tmp_path / "b.h5")
    assert list(second.modalities) == list(first.modalities) == ["text", "voice", "face"]
    for a, b in zip(first["train"].batches(9), second["train"].batches(9), strict=True):
        assert torch.equal(a.x["text"], b.x["text"])
    check_store(second.path)

    def both():
        how = dict(extras={"text": ("str", ())})
        with StoreWriter(tmp_path / "c.h5", "n", ["l"], {"text": 1}, **how):
            pass

    assert "'text' names both a modality and the transcripts" in message(both)


def test_what_is_not_used_is_said(tmp_path):
    given = arrays() | {"text": ["so"] * 20}
    store, said = made(given, tmp_path / "s.h5", modalities=["voice"])
    assert list(store.modalities) == ["voice"] and store["train"].text == ["so"] * 7
    assert "'face': features that were left out" in said
    assert "'text': transcripts; kept with the samples" in said
    given |= {"speakers": np.array(["Ann", "Bo"]), "rate": np.array(16000)}
    _, said = made(given, tmp_path / "s.h5", modalities=["voice"])
    for name in ("speakers", "rate"):
        assert f"'{name}': no array of these samples; left out" in said
    parts = {"train": arrays(), "valid": arrays() | {"speaker": np.arange(20)}}
    for v in parts.values():
        v.pop("split")
    parts["train"]["mood"] = ["calm"] * 20
    store, said = made(parts, tmp_path / "s.h5")
    assert store["train"].extras == [] and "'mood' is not in every file and was left out" in said


@pytest.mark.parametrize(
    "change, words",
    [
        (
            {"speaker": np.array(["a"] * 19)},
            ("'speaker' has 19 samples", "20", "leave it out, or name"),
        ),
        ({"speaker": np.array([["a"]] * 20)}, ("'speaker'", "(20, 1)", "Leave it out")),
        ({"rate": np.array(16000)}, ("'rate'", "neither", "Leave it out", "--modalities")),
        ({"when": np.zeros(20, "datetime64[s]")}, ("'when'", "datetime64[s]")),
        ({"wave": np.zeros((20, 3), complex)}, ("'wave'", "complex128")),
        ({"modalities": ["voice", "id2"], "id2": ["x"] * 20}, ("'id2' holds strings", "cannot be")),
        ({"modalities": ["voice", "n"], "n": np.arange(20)}, ("'n' holds numbers", "cannot be")),
        ({"split": np.arange(20) % 3}, ("'split'", "int64", "train, valid or test")),
        ({"y": np.array([["joy", "awe"]] * 20)}, ("'y'", "numbers (N, C)")),
        ({"pose": np.zeros((20, 6, 2))}, ("'pose'", "pose_length", "--modalities")),
        ({"text": np.zeros((20, 6, 2))}, ("'text' is padded", "text_length", "--modalities")),
        ({"t_offsets": np.arange(21)}, ("'t_offsets'", "'t_values'")),
        (
            {"face_values": np.ones((20, 4)), "face_offsets": np.arange(21)},
            ("'face' and 'face_values' are both there",),
        ),
        ({"y": [[1, 0]] * 19 + [[1]]}, ("'y'",)),
    ],
)
def test_types_that_mean_nothing_are_refused(tmp_path, change, words):
    said = message(lambda: prepare_arrays(arrays() | change, tmp_path / "s.h5", progress=False))
    assert all(w in said for w in words), said
    assert list(tmp_path.iterdir()) == []


# labels and splits


@pytest.mark.parametrize("kind", ["python", ".npz", ".h5"])
def test_clips_without_labels(tmp_path, kind):
    given = {k: v for k, v in arrays().items() if k not in ("y", "labels", "split")}
    source = saved(given, tmp_path / f"mine{kind}") if kind[0] == "." else given
    store, said = made(source, tmp_path / "s.h5")
    assert store.splits == {"clips": 20} and store.labels == ()
    clips = store["clips"]
    assert not clips.labelled and clips.batch([0]).y is None
    assert clips.id.tolist() == [f"s{i}" for i in range(20)]
    assert "the labels of all samples are unknown" in said
    again, _ = made(store.path, tmp_path / "again.h5", dtype="float16")
    assert again.splits == store.splits and not again["clips"].labelled
    given.pop("id")
    assert made(given, tmp_path / "s.h5")[0]["clips"].id[3] == "clips-3"
    store, _ = made(given | {"split": ["test"] * 20}, tmp_path / "s.h5")
    assert store.splits == {"test": 20} and not store["test"].labelled


def test_one_file_with_labels_and_one_without(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    given = arrays()
    given.pop("split")
    saved(given, folder / "Train.npz")
    saved({k: v for k, v in given.items() if k not in ("y", "labels")}, folder / "new.npz")
    store, said = made(folder, tmp_path / "s.h5")
    assert store.splits == {"train": 20, "new": 20} and store.labels == ("joy", "awe")
    assert store["train"].labelled and not store["new"].labelled
    assert "the labels of split 'new' are unknown" in said


@pytest.mark.parametrize("name", ["Train", "TRAIN", " train", "Training"])
def test_usual_names_of_splits_are_understood(tmp_path, name):
    given = arrays() | {"split": [name, "Val", "VALID", "Dev", "Test"] * 4}
    store, _ = made(given, tmp_path / "s.h5")
    assert store.splits == {"train": 4, "valid": 12, "test": 4}
    parts = {name: arrays(), "Folds": arrays()}
    for v in parts.values():
        v.pop("split")
    assert list(made(parts, tmp_path / "s.h5")[0].splits) == ["train", "Folds"]


def test_probabilities_are_no_labels_until_it_is_said_where_they_count(tmp_path):
    rng = np.random.default_rng(0)
    soft = rng.uniform(0.01, 0.99, (20, 2))
    given = arrays() | {"y": soft}
    said = message(lambda: prepare_arrays(given, tmp_path / "s.h5", progress=False))
    assert "'joy'" in said and "positive_above=0.5" in said
    assert f"gives {(soft[:, 0] > 0.5).sum()} of 20" in said
    store, _ = made(given, tmp_path / "s.h5", positive_above=0.5)
    y = np.concatenate([store[k].y for k in ("train", "valid", "test")])
    order = np.concatenate([np.arange(k, 20, 3) for k in range(3)])
    assert np.array_equal(y, soft[order] > 0.5)
    assert set(store["train"].intensity.flat) <= {0, 1}
    soft[3, 1] = np.nan
    said = message(lambda: made(arrays() | {"y": soft}, tmp_path / "s.h5", positive_above=0.5))
    assert "a label is NaN" in said
    thirds = np.round(rng.uniform(0, 1, (20, 2)) * 3) / 3  # intensities, some of them 0
    assert (thirds == 0).any(0).all() and ((thirds > 0) & (thirds < 1)).any()
    store, _ = made(arrays() | {"y": thirds}, tmp_path / "s.h5")
    assert np.array_equal(store["train"].y, thirds[::3] > 0)
    made(arrays() | {"y": np.ones((20, 2))}, tmp_path / "s.h5")  # all have it: nothing is soft


def test_probabilities_of_which_some_are_0_are_said(tmp_path):
    y = np.random.default_rng(0).uniform(0.01, 0.99, (20, 2))
    y[3], y[:, 1] = 0, y[:, 1] > 0.5
    store, said = made(arrays() | {"y": y}, tmp_path / "s.h5")
    assert store["train"].y[:, 0].sum() == 6
    assert f"above 0: joy (such as {y[0, 0]:.3g}) in 19 of 20 samples; if" in said
    assert "--positive-above" in said and "awe (such as" not in said
    for given, how in ((y, {"positive_above": 0.5}), (arrays()["y"], {})):
        assert "positive_above" not in made(arrays() | {"y": given}, tmp_path / "s.h5", **how)[1]


def test_values_that_became_0_are_counted(tmp_path):
    given = arrays()
    given["voice_length"][:] = 5
    given["voice"][0, 0] = [np.nan, np.inf, -np.inf]
    _, said = made(given, tmp_path / "s.h5", nonfinite="zero")
    assert "not finite, 0 now: -inf 1, +inf 1, nan 1" in said
