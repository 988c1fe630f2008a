"Data in memory: the same batches and the same runs as from a file, and what it refuses."

import pickle

import numpy as np
import pytest
import torch

from carat.core import CaratError
from carat.data.memory import MemorySplit, MemoryStore
from carat.data.store import Store
from carat.data.writer import StoreWriter
from carat.train import TrainConfig, fit, make_model

LABELS, WIDTHS = ("happy", "sad", "fear"), {"t": 6, "v": 3, "a": 4}


def parts(n, seed, dtype="float32"):
    "Arguments of a split with gaps, real intensities and extras."
    rng = np.random.default_rng(seed)
    x = {}
    for m, d in WIDTHS.items():
        lengths = rng.integers(1, 9, n) * (rng.random(n) > 0.3)
        x[m] = rng.standard_normal((lengths.sum(), d)).astype(dtype), lengths
    return {
        "id": [f"clip {i}" for i in range(n)],
        "y": rng.integers(0, 3, (n, 3)) / 2,
        "x": x,
        "extras": {"text": [f"text {i}" for i in range(n)], "k": rng.integers(0, 9, (n, 2))},
    }


def both(path, dtype="float32"):
    "The same data in memory and in a file."
    given = {"train": parts(80, 0, dtype), "valid": parts(30, 1, dtype)}
    extras = {"text": ("str", ()), "k": ("int64", (2,))}
    with StoreWriter(path, "both", LABELS, WIDTHS, dtype=dtype, extras=extras) as w:
        for k, v in given.items():
            w.add_many(k, v["id"], v["y"], v["x"], v["extras"])
    return MemoryStore("both", LABELS, WIDTHS, given, attrs={"seed": 0}), Store(path)


def message(f, *args, **more):
    with pytest.raises(CaratError) as e:
        f(*args, **more)
    return str(e.value)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    "more",
    [{}, {"stream": True}, {"max_steps": 2}, {"rank": 1, "world": 3}, {"pad_to": 9}, {"start": 2}],
)
def test_batches_are_those_of_a_file(tmp_path, dtype, more):
    arrays, file = both(tmp_path / "s.h5", dtype)
    how = {"batch_size": 7, "shuffle": True, "seed": 1, "epoch": 2} | more
    n = 0
    for a, b in zip(arrays["train"].batches(**how), file["train"].batches(**how), strict=True):
        assert a.id == b.id and a.total == b.total and torch.equal(a.y, b.y)
        for m in WIDTHS:
            assert torch.equal(a.x[m], b.x[m]) and torch.equal(a.mask[m], b.mask[m])
        n += len(a)
    assert n


def test_the_same_interface(tmp_path):
    arrays, file = both(tmp_path / "s.h5")
    assert repr(arrays) == "Memory" + repr(file)
    assert (arrays.name, arrays.labels, arrays.modalities) == ("both", LABELS, WIDTHS)
    assert arrays.splits == file.splits and "train" in arrays and "test" not in arrays
    assert arrays.attrs == {"seed": 0}
    a, b = arrays["train"], file["train"]
    assert repr(a) == repr(b) and len(a) == len(b) and a.nbytes == b.nbytes
    assert (a.id == b.id).all() and (a.y == b.y).all() and (a.intensity == b.intensity).all()
    assert (a.present == b.present).all() and a.text == b.text
    assert sorted(a.extras) == sorted(b.extras) and (a.extra("k") == b.extra("k")).all()
    assert a.extra("k").dtype == b.extra("k").dtype
    for m in WIDTHS:
        assert (a.lengths[m] == b.lengths[m]).all()
    assert message(lambda: arrays["test"]).startswith("store 'both' in memory has no split 'test'")
    assert "video" in message(lambda: a.extra("video"))


def test_training_gives_the_same_bits(tmp_path):
    small = {"layers": (1, 1, 1), "d": 16, "d_z": 8, "d_h": 8, "heads": 2, "ff": 16, "queue": 64}
    config = TrainConfig(epochs=2, batch_size=16, device="cpu")
    found = []
    for store in both(tmp_path / "s.h5", "float16"):
        run = fit(make_model("carat", store, **small), store, config, progress=False)
        history = [{k: v for k, v in r.items() if k != "seconds"} for r in run.history]
        found.append((history, run.model.state_dict(), run.info["data"]))
    assert found[0][0] == found[1][0] and found[0][2] == found[1][2]
    assert all(torch.equal(v, found[1][1][k]) for k, v in found[0][1].items())


def test_functions_are_called_once_and_late():
    given, calls = parts(20, 0), []

    def made(m):
        calls.append(m)
        return given["x"][m][0]

    x = {m: (lambda m=m: made(m), lengths) for m, (_, lengths) in given["x"].items()}
    lazy = MemorySplit("train", LABELS, WIDTHS, given["id"], x, given["y"])
    eager = MemorySplit("train", LABELS, WIDTHS, given["id"], given["x"], given["y"])
    assert repr(lazy) == repr(eager) and (lazy.present == eager.present).all()
    assert not calls
    for _ in range(2):
        for a, b in zip(lazy.batches(8), eager.batches(8), strict=True):
            assert all(torch.equal(a.x[m], b.x[m]) for m in WIDTHS)
    assert sorted(calls) == sorted(WIDTHS)
    half = MemorySplit("train", LABELS, WIDTHS, given["id"], x, given["y"], dtype="float16")
    assert 2 * half.nbytes == lazy.nbytes and half.values("t").dtype == np.float16


def test_labels_may_be_unknown():
    given = parts(20, 0)
    given.pop("y")
    store = MemoryStore("clips", LABELS, WIDTHS, {"clips": given})
    split = store["clips"]
    assert split.y is None and split.intensity is None
    assert all(b.y is None for b in split.batches(8)) and split.batch([3]).y is None
    assert all(b.y is None for b in split.batches(8, stream=True))


def test_it_travels_without_what_lies_on_a_device(tmp_path):
    for store in both(tmp_path / "s.h5"):
        before = len(pickle.dumps(store))
        expected = [b.x["t"] for b in store["train"].batches(16)]
        again = pickle.loads(pickle.dumps(store))
        assert len(pickle.dumps(store)) < before + 20_000
        got = [b.x["t"] for b in again["train"].batches(16)]
        assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))


TWO = np.zeros((2, 6))


@pytest.mark.parametrize(
    "change, words",
    [
        (
            {"x": {"t": (TWO[:, :5], [1, 1])}},
            "shape (2, 5), but its lengths and its width need (2, 6)",
        ),
        ({"x": {"t": (TWO, [1, 2])}}, "(3, 6)"),
        ({"x": {"t": (TWO, [3, -1])}}, "0 or more"),
        ({"x": {"t": (TWO, [1.0, 1.0])}}, "whole number"),
        ({"x": {"t": (TWO, [2])}}, "for each of the 2 samples"),
        ({"x": {}}, "Give each"),
        ({"x": {"t": (TWO, [1, 1]), "v": (TWO, [1, 1])}}, "Give each"),
        ({"x": {"t": (TWO + np.inf, [0, 2])}}, "sample 'b', step 0, column 0 is inf"),
        ({"x": {"t": (TWO + 1e300, [0, 2])}}, "is inf"),
        (
            {"y": [[1, 0], [0, 1]]},
            "the labels have shape (2, 2); 2 samples and 1 names need (2, 1)",
        ),
        ({"y": [[1], [np.nan]]}, "sample 'b' (row 1): the label 'joy' is nan"),
        ({"id": ["a", "a"]}, "the id 'a' occurs 2 times"),
    ],
)
def test_it_refuses(change, words):
    good = {"id": ["a", "b"], "x": {"t": (TWO, [1, 1])}, "y": [[1], [0]]}
    MemorySplit("train", ["joy"], {"t": 6}, **good)
    said = message(MemorySplit, "train", ["joy"], {"t": 6}, **good | change)
    assert words in said and said.startswith("arrays in memory")


def test_a_function_that_fails_is_named():
    for make, words in (
        (lambda: TWO[:1], "shape (1, 6)"),
        (lambda: TWO * np.nan, "sample 'a', step 0, column 0 is nan"),
    ):
        split = MemorySplit("train", ["joy"], {"t": 6}, ["a", "b"], {"t": (make, [1, 1])})
        assert words in message(lambda s=split: list(s.batches(2)))


def test_a_store_refuses_what_is_not_its_own():
    split = MemorySplit("train", ["joy"], {"t": 6}, ["a", "b"], {"t": (TWO, [1, 1])})
    assert MemoryStore("s", ["joy"], {"t": 6}, {"train": split})["train"] is split
    for labels, widths in ((["awe"], {"t": 6}), (["joy"], {"t": 5}), (["joy"], {"t": 6, "v": 1})):
        assert "must agree" in message(MemoryStore, "s", labels, widths, {"train": split})
    assert "no split" in message(MemoryStore, "s", ["joy"], {"t": 6}, {})
