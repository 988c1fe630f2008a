"Faults of the store: writers that die, files that are damaged, and readers that must agree."

import gzip
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from faults import swap

from carat.batch import Batch, collate
from carat.core import CaratError
from carat.data import store as module
from carat.data import writer as writer_module
from carat.data.memory import MemoryStore
from carat.data.store import Store, check_store
from carat.data.writer import StoreWriter

LABELS, WIDTHS = ("happy", "sad", "fear"), {"t": 6, "v": 3, "a": 4}


def samples(n=40, seed=0):
    rng = np.random.default_rng(seed)

    def one(i):
        x = {
            m: rng.normal(size=(rng.integers(1, 9), d)).astype(np.float32)
            if rng.random() < 0.7
            else None
            for m, d in WIDTHS.items()
        }
        return {"id": f"clip {i}", "y": rng.integers(0, 2, 3), **x}

    return [one(i) for i in range(n)]


def write(path, n=40, splits=("train", "valid"), **more):
    with StoreWriter(path, "test", LABELS, WIDTHS, **more) as w:
        for k, name in enumerate(splits):
            for s in samples(n, k):
                w.add(name, s["id"], s["y"], {m: s[m] for m in WIDTHS})
    return path


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "store.h5")


def same(a: Batch, b: Batch):
    assert a.id == b.id and torch.equal(a.y, b.y) and a.modalities == b.modalities
    for m in a.modalities:
        assert torch.equal(a.x[m], b.x[m]) and torch.equal(a.mask[m], b.mask[m])


def message(f) -> str:
    with pytest.raises(CaratError) as e:
        f()
    return str(e.value)


# what comes out is what went in


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_round_trip(tmp_path, dtype):
    s = Store(write(tmp_path / "s.h5", dtype=dtype))
    assert s.labels == LABELS and s.modalities == WIDTHS and s.splits == {"train": 40, "valid": 40}
    given = samples(40, 1)
    for g in given:
        g.update({m: None if g[m] is None else g[m].astype(dtype) for m in WIDTHS})
    got = s["valid"].batch(range(40))
    same(got, collate(given, WIDTHS))
    assert all(v.dtype == torch.float32 for v in got.x.values())
    assert (s["valid"].present == got.present.numpy()).all()


def test_order_of_modalities_and_extras(tmp_path):
    with StoreWriter(
        tmp_path / "s.h5",
        "n",
        ["x"],
        {"v": 1, "a": 1, "t": 1},
        extras={"k": ("int16", (2,)), "text": ("str", ())},
        attrs={"seed": 3},
    ) as w:
        w.add("test", "ä[1]", [2.5], {"v": [[1.0]]}, {"k": [1, 2], "text": "schön"})
    s = Store(tmp_path / "s.h5")
    assert list(s.modalities) == ["v", "a", "t"] and s.attrs["seed"] == 3
    t = s["test"]
    assert (
        t.id.tolist() == ["ä[1]"]
        and t.text == ["schön"]
        and t.extra("k").tolist() == [[1, 2]]
        and t.extra("k").dtype == np.int16
    )
    assert (
        t.intensity.tolist() == [[2.5]]
        and t.y.tolist() == [[1.0]]
        and t.present.tolist() == [[True, False, False]]
    )
    assert "video" in message(lambda: t.extra("video"))


def test_many_at_once_equals_one_by_one(tmp_path):
    one, many = write(tmp_path / "one.h5", splits=("train",)), tmp_path / "many.h5"
    given = samples()
    with StoreWriter(many, "test", LABELS, WIDTHS) as w:
        for part in (given[:7], given[7:7], given[7:]):
            if not part:
                continue
            x = {
                m: (
                    np.concatenate(
                        [np.zeros((0, d), np.float32)] + [s[m] for s in part if s[m] is not None]
                    ),
                    [0 if s[m] is None else len(s[m]) for s in part],
                )
                for m, d in WIDTHS.items()
            }
            w.add_many("train", [s["id"] for s in part], [s["y"] for s in part], x)
    same(Store(one)["train"].batch(range(40)), Store(many)["train"].batch(range(40)))


def test_the_writer_keeps_no_reference(tmp_path):
    x = np.ones((2, 6), np.float32)
    with StoreWriter(tmp_path / "s.h5", "n", ["l"], {"t": 6}) as w:
        for i in range(3):
            x[:] = i
            w.add("train", str(i), [1], {"t": x})
    assert [float(b.x["t"][0, 0, 0]) for b in Store(tmp_path / "s.h5")["train"].batches(1)] == [
        0,
        1,
        2,
    ]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("block", [1, 2000, 1 << 26])
def test_streamed_equals_kept(path, shuffle, block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    monkeypatch.setattr(module, "CHUNK", 64)
    for more in (
        {},
        {"max_steps": 3},
        {"rank": 1, "world": 3},
        {"drop_last": True},
        {"pad_to": {"t": 9, "v": 8, "a": 10}},
    ):
        how = dict(batch_size=7, shuffle=shuffle, seed=1, epoch=2) | more
        pairs = list(
            zip(
                Store(path)["train"].batches(stream=False, **how),
                Store(path)["train"].batches(stream=True, **how),
                strict=True,
            )
        )
        assert pairs
        for a, b in pairs:
            same(a, b)


def test_ranks_share_every_batch_and_get_the_same_number(path):
    s = Store(path)["train"]
    one = list(s.batches(9, shuffle=True))
    parts = [list(s.batches(9, shuffle=True, rank=r, world=8)) for r in range(8)]
    assert {len(p) for p in parts} == {len(one)}
    for i, b in enumerate(one):
        assert [p[i].id for p in parts] == [b.id[r::8] for r in range(8)]
    assert len(parts[7][-1]) == 0 and parts[7][-1].x["t"].shape == (0, 1, 6)


def test_order_depends_on_seed_and_epoch_alone(path):
    def ids(**how):
        return [b.id for b in Store(path)["train"].batches(8, shuffle=True, **how)]

    torch.manual_seed(1), np.random.seed(1)
    first = ids(seed=3, epoch=4)
    torch.manual_seed(2), np.random.seed(2)
    assert ids(seed=3, epoch=4) == first == ids(seed=3, epoch=4, stream=True)
    assert ids(seed=3, epoch=5) != first != ids(seed=4, epoch=4)
    assert ids(seed=3, epoch=4, start=2) == first[2:]


def test_readers_in_threads_agree(path):
    s, found = Store(path)["train"], []
    expected = [b.id for b in s.batches(4, shuffle=True)]
    work = [
        threading.Thread(
            target=lambda: found.append([b.id for b in s.batches(4, shuffle=True, stream=True)])
        )
        for _ in range(3)
    ]
    for w in work:
        w.start()
    for w in work:
        w.join()
    assert found == [expected] * 3


# writers that fail


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_nothing(tmp_path, error):
    with pytest.raises(error):
        with StoreWriter(tmp_path / "s.h5", "n", ["l"], {"t": 600}) as w:
            for i in range(100):
                w.add("train", str(i), [1], {"t": np.zeros((60, 600))})
            raise error
    assert list(tmp_path.iterdir()) == []


def test_an_error_keeps_the_old_store(path):
    before = path.read_bytes()
    with pytest.raises(CaratError):
        with StoreWriter(path, "n", ["l"], {"t": 6}, overwrite=True) as w:
            w.add("train", "0", [1], {"t": np.full((1, 6), np.inf)})
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_a_killed_writer_leaves_no_store(tmp_path):
    path = tmp_path / "s.h5"
    program = (
        "import os, signal, sys\nimport numpy as np\nfrom carat.data.writer import StoreWriter\n"
        "with StoreWriter(sys.argv[1], 'n', ['l'], {'t': 600}) as w:\n"
        "    for i in range(100): w.add('train', str(i), [1], {'t': np.zeros((60, 600))})\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, path]).returncode == -signal.SIGKILL
    left = list(tmp_path.iterdir())
    assert not path.exists() and [p.suffix for p in left] == [".part"]
    other = (
        tmp_path / f".s.h5.elsewhere-{left[0].name.split('-')[-1]}"
    )  # another machine's writer may be alive
    other.write_bytes(b"")
    write(path)  # removes what the dead one left
    assert sorted(tmp_path.iterdir()) == sorted([path, other])
    check_store(path)


def test_no_overwriting_unless_asked(path):
    assert "exists" in message(lambda: write(path))
    write(path, n=3, overwrite=True)
    assert Store(path).splits["train"] == 3


def test_a_file_made_meanwhile_is_kept(tmp_path):
    path = tmp_path / "s.h5"

    def race():
        with StoreWriter(path, "n", ["l"], {"t": 1}) as w:
            w.add("train", "0", [1], {"t": [[1]]})
            path.write_text("somebody else's")

    assert "meanwhile" in message(race)
    assert path.read_text() == "somebody else's" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    def full(*a, **k):
        raise OSError(28, "No space left on device")

    def go():
        with StoreWriter(tmp_path / "s.h5", "n", ["l"], {"t": 1}) as w:
            w.add("train", "0", [1], {"t": [[1]]})
            monkeypatch.setattr(h5py.Dataset, "resize", full)

    assert "No space left" in message(go)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "sample, words",
    [
        (("b", [1, 0, 0], {"t": np.ones((2, 5))}), ("'b'", "'t'", "(2, 5)", "(steps, 6)")),
        (("b", [1, 0], {}), ("'b'", "(3,)", "happy")),
        (("b", [1, 0, np.nan], {}), ("'b'", "label")),
        (
            ("b", [1, 0, 0], {"a": [[0, 0, 0, 0], [0, np.nan, 0, 0]]}),
            ("'b'", "'a'", "step 1", "column 1", "nan"),
        ),
        (("b", [1, 0, 0], {"v": [[0, -np.inf, 0]]}), ("'b'", "'v'", "step 0", "-inf")),
        (("b", [1, 0, 0], {"v": [[0, 7e4, 0]]}), ("'b'", "'v'", "70000", "float16")),
        (("a", [1, 0, 0], {}), ("'a'", "twice")),
        (("", [1, 0, 0], {}), ("id",)),
        (("b\0", [1, 0, 0], {}), ("id",)),
        (("b", [1, 0, 0], {"x": None}), ("'x'", "'t', 'v', 'a'")),
    ],
)
def test_the_writer_refuses(tmp_path, sample, words):
    def go():
        with StoreWriter(tmp_path / "s.h5", "n", LABELS, WIDTHS, dtype="float16") as w:
            w.add("train", "a", [0, 0, 1], {"t": np.ones((2, 6))})
            w.add("train", *sample)

    said = message(go)
    assert all(v in said for v in words) and "train" in said, said
    assert list(tmp_path.iterdir()) == []


def test_a_refused_sample_changes_nothing(tmp_path):
    with StoreWriter(tmp_path / "s.h5", "n", LABELS, WIDTHS) as w:
        w.add("train", "a", [0, 0, 1], {"t": np.ones((2, 6))})
        with pytest.raises(CaratError):
            w.add("train", "b", [0, 0, 1], {"t": np.ones((2, 6)), "a": np.full((1, 4), np.nan)})
        w.add("train", "b", [0, 0, 1], {"t": np.ones((1, 6))})
    s = Store(tmp_path / "s.h5")["train"]
    assert (
        s.id.tolist() == ["a", "b"]
        and s.lengths["t"].tolist() == [2, 1]
        and s.lengths["a"].tolist() == [0, 0]
    )


# files that are damaged


def edit(path, change):
    with h5py.File(path, "r+") as f:
        change(f)
    return path


def put(key, at, value):
    def change(f):
        f[key][at] = value

    return change


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda f: f.pop("train"), ("no split 'train'", "'valid' (40 samples)")),
        (lambda f: f["train"].pop("y"), ("'y'",)),
        (lambda f: f["train/v"].pop("offsets"), ("'v/offsets'",)),
        (lambda f: f["train"].pop("a"), ("'a/values'",)),
        (swap("train/y", lambda v: v[:, :2]), ("(40, 2)", "(40, 3)", "happy")),
        (swap("train/y", lambda v: v[:-1]), ("(39, 3)", "40 ids")),
        (put("train/y", (3, 1), np.nan), ("'clip 3'", "'sad'", "nan")),
        (swap("train/id", lambda v: np.array(["same"] * 40, object)), ("'same'", "40 times")),
        (swap("train/t/values", lambda v: v[:, :4]), ("'t'", "width of 6")),
        (swap("train/t/values", lambda v: v.astype(np.int32)), ("'t'", "int32")),
        (swap("train/t/values", lambda v: v[:-1]), ("'t'", "rows of values")),
        (swap("train/v/offsets", lambda v: v[:-1]), ("'v'", "(40,)", "(41,)")),
        (put("train/v/offsets", 4, 10**12), ("'v'", "fall after sample 'clip 4'")),
        (put("train/v/offsets", 0, -1), ("'v'", "run from -1")),
        (lambda f: f.attrs.pop("labels"), ("'labels'",)),
        (lambda f: f.attrs.modify("version", 3), ("version 3",)),
        (lambda f: f.attrs.modify("format", "other"), ("not a carat store",)),
        (lambda f: f.attrs.create("widths", [6, 3]), ("widths [6, 3]",)),
        (lambda f: f.attrs.create("modalities", np.array([b"t", b"v", b"x"])), ("'x/values'",)),
    ],
)
def test_damage_is_named(path, change, words):
    said = message(lambda: Store(edit(path, change))["train"])
    assert all(v in said for v in words) and str(path) in said, said


@pytest.mark.parametrize(
    "use",
    [
        lambda s: next(s.batches(4, stream=False)),
        lambda s: list(s.batches(4, shuffle=True, stream=True)),
        lambda s: s.batch(range(40)),
        lambda s: check_store(s.store.path),
    ],
    ids=["kept", "streamed", "batch", "check"],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_found(path, use, value):
    offsets = h5py.File(path)["train/a/offsets"][:]
    row = int(np.flatnonzero(np.diff(offsets) > 2)[3])
    s = Store(edit(path, put("train/a/values", (offsets[row] + 2, 1), value)))["train"]
    said = message(lambda: use(s))
    assert all(
        v in said
        for v in ("'a'", "'train'", f"'clip {row}'", "step 2", "column 1", str(value), str(path))
    ), said


def test_what_is_no_store(tmp_path, path):
    assert "no store at" in message(lambda: Store(tmp_path / "nothing.h5"))
    assert "folder" in message(lambda: Store(tmp_path)) and "store.h5" in message(
        lambda: Store(tmp_path)
    )
    for text in (b"", b"hello", b"\x89HDF\r\n\x1a\n" + b"\0" * 500):
        (tmp_path / "x.h5").write_bytes(text)
        assert "x.h5" in message(lambda: Store(tmp_path / "x.h5"))
    whole = path.read_bytes()
    for n in (9, 700, len(whole) // 2, len(whole) - 1):
        (tmp_path / "x.h5").write_bytes(whole[:n])
        assert "truncated" in message(lambda: Store(tmp_path / "x.h5"))


def test_a_file_exchanged_while_in_use(path):
    s = Store(path)["train"]
    write(path, n=3, overwrite=True)
    assert "changed" in message(lambda: s.batch([0]))


def test_a_read_only_folder_can_be_read(path):
    os.chmod(path, 0o444)
    os.chmod(path.parent, 0o555)
    try:
        assert len(Store(path)["train"].batch([0])) == 1
    finally:
        os.chmod(path.parent, 0o755)


@pytest.mark.slow
def test_flipped_bytes_are_an_error_or_the_right_answer(tmp_path):
    """Damage anywhere: an error that a user can read, or the same numbers.

    It is done in a process of its own, since the HDF5 library might give up.
    """
    write(tmp_path / "good.h5", n=6, splits=("train",))
    program = """
import sys
from pathlib import Path
import torch
from carat.core import CaratError
from carat.data.store import check_store, Store
from faults import damaged
folder = Path(sys.argv[1])
good, refused = (folder / "good.h5").read_bytes(), 0
right = Store(folder / "good.h5")["train"].batch(range(6))
for i in range(200):
    (folder / "bad.h5").write_bytes(damaged(good, i))
    try:
        check_store(folder / "bad.h5")
        got = next(Store(folder / "bad.h5")["train"].batches(6, stream=bool(i % 2)))
    except CaratError: refused += 1
    else:
        assert got.id == right.id and torch.equal(got.y, right.y), i
        assert all(torch.equal(got.x[m], right.x[m]) for m in right.x), i
        assert all(torch.equal(got.mask[m], right.mask[m]) for m in right.x), i
print(refused)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 150


# stores of the first edition


@pytest.fixture
def first_edition(tmp_path):
    "A store that the package wrote before its modules lay in folders (version 1)."
    path = tmp_path / "first_edition.h5"
    packed = Path(__file__).with_name("first_edition.h5.gz").read_bytes()
    path.write_bytes(gzip.decompress(packed))
    return path


def test_a_store_of_the_first_edition_gives_the_same_numbers(first_edition):
    store = Store(first_edition)
    assert store.name == "first edition" and store.labels == LABELS
    assert list(store.modalities.items()) == [("t", 5), ("v", 3)]
    assert list(store.splits.items()) == [("train", 4), ("valid", 3), ("test", 2)]
    assert store.attrs == {"source": "written by the first edition", "seed": 7}
    for name, n in store.splits.items():
        split, batch = store[name], store[name].batch(range(n))
        assert batch.id == split.id.tolist() == [f"{name}[{i}]" for i in range(n)]
        intensity = np.float32([[(i + c) % 3 / 2 for c in range(3)] for i in range(n)])
        assert np.array_equal(split.intensity, intensity)
        assert np.array_equal(batch.y, intensity > 0)
        assert split.text == [f"wörd {i}" for i in range(n)]
        assert split.extra("video").tolist() == [f"vidéo {i // 2}" for i in range(n)]
        assert split.present.tolist() == [[True, i != 1] for i in range(n)]
        for i in range(n):
            steps = i + 1
            assert np.array_equal(batch.mask["t"][i], np.arange(n) < steps)
            expected = np.arange(steps * 5).reshape(-1, 5) / 8
            assert np.array_equal(batch.x["t"][i, :steps], expected)
            planted = np.arange(6).reshape(3, 2) % 2 == i % 2
            assert np.array_equal(split.extra("planted")[i], planted)
            if i != 1:
                assert (batch.x["v"][i, :2] == np.float32(i + 0.1)).all()
    report = check_store(first_edition)
    assert report["train"]["positives"] == {"happy": 2, "sad": 3, "fear": 3}
    assert report["train"]["steps"] == {"t": (2.5, 4), "v": (2.0, 2)}


# samples without labels


def unlabelled(path, labels=()):
    given = samples(20, 3)
    with StoreWriter(path, "clips", labels, WIDTHS) as w:
        for s in given:
            w.add("clips", s["id"], None, {m: s[m] for m in WIDTHS})
    return Store(path), given


@pytest.mark.parametrize("labels", [(), LABELS])
def test_labels_may_be_unknown(tmp_path, labels):
    store, given = unlabelled(tmp_path / "s.h5", labels)
    split = store["clips"]
    assert store.labels == labels and store.splits == {"clips": 20} and "clips 20" in repr(store)
    assert split.y is None and split.intensity is None and not split.labelled
    expected = collate([s | {"y": None} for s in given], WIDTHS)
    for batch in (split.batch(range(20)), *split.batches(20), *split.batches(20, stream=True)):
        assert batch.y is None and batch.id == expected.id
        assert all(torch.equal(batch.x[m], expected.x[m]) for m in WIDTHS)
    report = check_store(store.path)["clips"]
    assert report["samples"] == 20 and report["positives"] == {}
    said = message(lambda: split.known_labels("training"))
    assert "split 'clips' has no labels, and training needs them" in said


def test_a_split_has_labels_for_all_or_for_none(tmp_path):
    for first, second in (([1, 0, 0], None), (None, [1, 0, 0])):

        def go(ys=(first, second)):
            with StoreWriter(tmp_path / "s.h5", "n", LABELS, WIDTHS) as w:
                w.add("test", "a", [1, 0, 0], {})
                for i, y in enumerate(ys):
                    w.add("train", str(i), y, {})

        assert "to all samples of a split, or to none" in message(go)

    with StoreWriter(tmp_path / "s.h5", "n", LABELS, WIDTHS) as w:
        w.add("train", "a", [1, 0, 0], {})
        w.add("clips", "b", None, {})
    s = Store(tmp_path / "s.h5")
    assert s["train"].labelled and not s["clips"].labelled
    assert s["train"].known_labels("training").tolist() == [[1, 0, 0]]


def test_only_files_without_labels_need_the_new_version(tmp_path, path):
    unlabelled(tmp_path / "clips.h5")
    versions = []
    for name in (path, tmp_path / "clips.h5"):
        with h5py.File(name) as f:
            versions.append(f.attrs["version"])
    assert versions == [1, 2]
    with h5py.File(path, "r+") as f:
        del f["train/y"]  # in a file of version 1 this is damage
    assert "'y' is missing" in message(lambda: Store(path)["train"])


# what is refused or warned of where data enter


@pytest.mark.parametrize(
    "labels, words",
    [
        (["id", "sad"], ("'id'", "column")),
        (["happy", "labels"], ("'labels'", "column")),
        (["happy", "happy_from"], ("'happy_from'", "column")),
        (["happy;sad"], ("'happy;sad'", "semicolons")),
        (["happy", " sad"], ("' sad'", "spaces")),
        (["happy", ""], ("''", "spaces")),
        (["a\nb"], ("'a\\nb'", "printable")),
        (["happy", "happy"], ("each label once",)),
    ],
)
def test_labels_that_predictions_could_not_be_written_with(tmp_path, labels, words):
    said = message(lambda: StoreWriter(tmp_path / "s.h5", "n", labels, WIDTHS))
    assert all(w in said for w in words), said
    said = message(lambda: MemoryStore("n", labels, WIDTHS, {}))
    assert all(w in said for w in words), said


def test_labels_that_are_only_unusual(tmp_path):
    labels = ["joy, awe", "sad_from", "ID", "très content", 'a "b"']
    with StoreWriter(tmp_path / "s.h5", "n", labels, WIDTHS) as w:
        w.add("train", "a", [1, 0, 0, 1, 0], {})
    assert Store(tmp_path / "s.h5").labels == tuple(labels)


def odd(path, change, n=6, split="train", y=((1, 0, 0), (0, 1, 1)), text="oh"):
    "What the writer logs and what `check_store` says of samples that were changed."
    rng = np.random.default_rng(0)
    with StoreWriter(path, "n", LABELS, WIDTHS, extras={"text": ("str", ())}, overwrite=True) as w:
        for i in range(n):
            x = {m: rng.normal(size=(3, d)).astype(np.float32) for m, d in WIDTHS.items()}
            change(i, x)
            w.add(split, f"clip {i}", y[i % 2], x, {"text": text if i % 2 else "well"})
    return check_store(path)[split]["warnings"]


def large(i, x):
    if i == 4:
        x["v"][2, 1], x["v"][0, 0] = -1e30, 2e6


def constant(i, x):
    x["a"][:, 2], x["t"][:, :] = 0.5, 0


@pytest.mark.parametrize(
    "how, words",
    [
        ({}, None),
        (
            {"change": large},
            "modality 'v', split 'train': 2 values beyond 1e+06, the largest -1e+30 in sample "
            "'clip 4', step 2, column 1",
        ),
        ({"change": constant}, "modality 't', split 'train': every column is constant"),
        ({"change": constant}, "modality 'a', split 'train': columns are constant: 2"),
        ({"n": 1}, "split 'train' has one sample"),
        ({"y": ((0.9, 0, 0), (0.1, 1, 1))}, "every value of the label 'happy' is above 0"),
        ({"text": " "}, "split 'train': 3 of 6 texts are empty"),
    ],
)
@pytest.mark.parametrize("buffer", [1, 8 << 20])
def test_what_is_odd_is_said(tmp_path, caplog, monkeypatch, how, words, buffer):
    monkeypatch.setattr(writer_module, "_BUFFER", buffer)
    how = {"change": lambda i, x: None} | how
    with caplog.at_level("WARNING", "carat"):
        checked = odd(tmp_path / "s.h5", **how)
    logged = [r.getMessage() for r in caplog.records]
    assert logged == [f"s.h5: {w}" for w in checked]
    assert (
        (checked == [])
        if words is None
        else any(w.startswith(words) or words in w for w in checked)
    )


def test_whatever_is_not_odd(tmp_path):
    assert odd(tmp_path / "s.h5", lambda i, x: x.clear()) == []  # nothing there, nothing constant
    assert odd(tmp_path / "s.h5", constant, n=2, split="clips", y=(None, None)) != []
    with StoreWriter(tmp_path / "s.h5", "n", LABELS, WIDTHS, overwrite=True) as w:
        for i in range(4):
            x = {m: np.full((1, d), i % 2) for m, d in WIDTHS.items()}
            w.add("train", str(i), [1, 0, 0], x)
            w.add("test", str(i), [1, 0, 0], {m: v * 0 for m, v in x.items()})
    assert not any(r["warnings"] for r in check_store(tmp_path / "s.h5").values())


# the disk, the lock, the other file


@pytest.mark.slow
def test_a_disk_that_is_full_ends_no_process(tmp_path):
    "Only a process of its own, here one for each limit, shows what HDF5 does at exit."
    program = """
import os, resource, signal, sys
import numpy as np
from carat.core import CaratError
from carat.data.writer import StoreWriter
path, *limits = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in map(int, limits):
    if not os.fork():
        break
    assert os.wait()[1] == 0 and not os.listdir(os.path.dirname(path)), limit
else:
    sys.exit()
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with StoreWriter(path, "n", ["l"], {"t": 300}, extras={"text": ("str", ())}) as w:
        for i in range(200):
            w.add("train", str(i), [i % 2], {"t": np.random.rand(50, 300)}, {"text": "x" * 99})
except CaratError as e:
    print(e)
"""
    limits = (0, 100, 20_000, 1 << 20, 9 << 20, 12_000_000)
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "s.h5", *map(str, limits)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stderr == "", done
    said = "File too large. Is the disk full? Nothing was left behind."
    assert done.stdout.count(said) == len(limits), done


def test_a_store_that_is_open_elsewhere(path):
    with h5py.File(path, "r"):  # with HDF5's own lock
        assert len(Store(path)["train"].batch([0])) == 1
        check_store(path)
    with h5py.File(path, "r+"):
        said = message(lambda: Store(path))
        assert "locked" in said and "truncated" not in said
        program = f"from carat.data.store import Store; Store({str(path)!r})"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert "is locked" in done.stderr and "truncated" not in done.stderr
    check_store(path)


def test_files_that_are_no_store_say_what_they_are(tmp_path):
    np.savez(tmp_path / "a.npz", t=np.zeros(3))
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": 1}))
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        z.writestr("readme", "hello")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    for name, words in {
        "a.npz": ("an .npz of arrays", "carat prepare arrays", "a.npz --out"),
        "a.npy": ("a NumPy array", "carat prepare arrays"),
        "a.pkl": ("a pickle", "carat prepare mosei"),
        "a.pt": ("torch.save", "carat prepare m3ed"),
        "a.zip": ("not an HDF5 file",),
        "run": ("is a run folder",),
        ".": ("is a folder", "carat prepare arrays"),
    }.items():
        said = message(lambda name=name: Store(tmp_path / name))
        assert all(w in said for w in words), said


def test_overwriting_is_named(path):
    said = message(lambda: write(path))
    assert "overwrite=True" in said and "--overwrite" in said


# a store is known by its content


def test_the_fingerprint_is_of_the_content(tmp_path, path):
    first = Store(path).fingerprint()
    assert len(first) == 64 and Store(path).fingerprint() == first
    assert Store(write(tmp_path / "again.h5")).fingerprint() == first
    shutil.copy(path, tmp_path / "copy.h5")
    os.utime(tmp_path / "copy.h5", (1, 1))
    assert Store(tmp_path / "copy.h5").fingerprint() == first
    store = Store(path)
    list(store["train"].batches(8))
    assert pickle.loads(pickle.dumps(store)).fingerprint() == first
    seen = {first}
    for change in (
        put("train/t/values", (3, 1), 1.5),
        put("valid/a/values", (0, 0), -1),
        put("train/y", (5, 0), 0.25),
        swap("train/id", lambda v: v[::-1].copy()),
        swap("train/v/values", lambda v: v * 3),
        lambda f: f.move("valid", "test"),
        lambda f: f.attrs.modify("labels", np.array([b"sad", b"happy", b"fear"])),
        lambda f: (
            f["train"].move("v", "x")
            or f["valid"].move("v", "x")
            or f.attrs.modify("modalities", np.array([b"t", b"x", b"a"]))
        ),
        lambda f: f.pop("valid"),
    ):
        other = tmp_path / "other.h5"
        shutil.copy(path, other)
        edit(other, change)
        seen.add(Store(other).fingerprint())
    assert len(seen) == 10
    for k in (1, 2):  # the same samples, another seed; another precision
        more = {"n": 39} if k == 1 else {"dtype": "float16"}
        seen.add(Store(write(tmp_path / f"{k}.h5", **more)).fingerprint())
    assert len(seen) == 12


def test_the_fingerprint_without_checksums(path):
    before = Store(path).fingerprint()

    def bare(f):
        for k in ("train", "valid"):
            for m in WIDTHS:
                swap(f"{k}/{m}/values", lambda v: v)(f)

    edit(path, bare)
    with h5py.File(path) as f:
        assert not f["train/t/values"].fletcher32
    assert Store(path).fingerprint() == before
    edit(path, put("train/t/values", (3, 1), 1.5))
    assert Store(path).fingerprint() != before


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_fingerprint_in_memory_is_that_of_the_file(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(writer_module, "CHUNK", 500)  # many chunks
    store = Store(write(tmp_path / "s.h5", dtype=dtype))
    parts = {}
    for k in store.splits:
        with store[k].opened() as data:
            x = {m: (data[m][:], store[k].lengths[m]) for m in WIDTHS}
        parts[k] = {"id": store[k].id, "y": store[k].intensity, "x": x}
    assert MemoryStore("test", LABELS, WIDTHS, parts).fingerprint() == store.fingerprint()
    with h5py.File(store.path) as f:
        assert f["train/t/values"].id.get_num_chunks() > 2
