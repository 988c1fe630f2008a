"The importer of .csd files: a result by hand, interruptions, and files that are not right."

import json
import os
import shutil
import subprocess
import sys

import csd_files
import h5py
import numpy as np
import pytest
from csd_files import (
    FILES,
    FOLDS,
    LABEL_A,
    described,
    fixture,
    holds,
    random_videos,
    wide,
    write_file,
)
from hostile import message

from carat.data import csd as module
from carat.data.csd import average_rows, find_sequences, prepare_csd, read_folds
from carat.data.resume import WorkFolder
from carat.data.store import Store


@pytest.fixture
def source(tmp_path):
    return fixture(tmp_path / "csd")


def make(source, name="s.h5", folds=FOLDS, **how):
    return prepare_csd(source, source.parent / name, folds, progress=False, **how)


def rows(split, m):
    return [
        split.batch([i]).x[m][0, :, 0].tolist() if split.lengths[m][i] else []
        for i in range(len(split))
    ]


def report(path):
    return json.loads(Store(path).attrs["report"])


def refused(source, *words, **how):
    "The call is refused with these words, and leaves nothing."
    before = set(source.parent.iterdir())
    said = message(lambda: make(source, **how))
    assert all(w in said for w in words), said
    assert set(source.parent.iterdir()) == before
    return said


# worked out by hand


def test_aligned_by_hand(source):
    # audio of A
    # "hello" 0 to 0.5: rows 0-0.3 (2) and 0.2-0.6 (4); 0.5-1 only touches: (2 + 4) / 2 = 3
    # "world" 1 to 1.5: 0.9-1.1 (10), 1.1-1.4 (-inf, left out), 1.4-1.6 (4); 0.5-1 only touches:
    #     (10 + 4) / 2 = 7
    # "again" 1.5 to 2: 1.4-1.6 (4), 1.8-2.5 (8); 1.6-1.6 has no length, 1.7-1.6 is turned round:
    #     (4 + 8) / 2 = 6
    # "far" 2 to 3: 1.8-2.5 (8) and 2.2-2.4 (5), which the first encloses; the row that begins at
    #     NaN is out: (8 + 5) / 2 = 6.5
    # vision of A
    # "hello" meets 0-1 (1); "world" and "again" meet nothing: 0; "far" meets 2.5-3.5 (7)
    # the segments
    # A[0] 0.25-1.5: hello (its second half), world; "again" only touches
    # A[1] 1.4-3: world (its end), again, far; "never" has no length
    # A[2] 0.6-0.9: the pause alone, dropped. A[3] 1-2: world, again, of which none meets vision
    # A[4] is turned round, A[5] has a label that is NaN
    # B: "one" comes second in the file. Vision rows 0-2 (6) and 0.5-1 (8): one (6 + 8) / 2 = 7,
    #     two 6. Column 1: one 4 (NaN left out), two 0. Column 2: 0
    # C: the word vectors have a row at the pause: kept. Vision has no row, B no audio
    # D is in no fold
    s = Store(make(source))
    assert (
        s.name == "MOSEI, csd aligned"
        and s.modalities == {"t": 300, "v": 35, "a": 74}
        and s.splits == {"train": 4, "valid": 1}
    )
    assert s.labels == ("happy", "sad", "anger", "surprise", "disgust", "fear")
    train, valid = s["train"], s["valid"]
    assert train.id.tolist() == ["A[0]", "A[1]", "A[3]", "B[0]"] and valid.id.tolist() == ["C[0]"]
    assert rows(train, "t") == [[1, 2], [2, 3, 5], [2, 3], [10, 20]]
    assert rows(train, "a") == [[3, 7], [7, 6, 6.5], [7, 6], []]
    assert rows(train, "v") == [[1, 0], [0, 0, 7], [], [7, 6]]
    assert [rows(valid, m) for m in "tva"] == [[[50, 60]], [[]], [[3, 3]]]
    v = train.batch([3]).x["v"][0].numpy()
    assert (
        v[:, 1].tolist() == [4, 0] and v[:, 2].tolist() == [0, 0] and (v[:, 3:] == [[7], [6]]).all()
    )
    assert (train.batch([1]).x["a"][0].numpy() == [[7], [6], [6.5]]).all() and (
        train.batch([0]).x["t"][0].numpy() == [[1], [2]]
    ).all()
    assert train.intensity.tolist() == [
        [1, 0, 0, 2, 0, 0],
        [0] * 6,
        [0, 3, 0, 0, 1, 0],
        [0, 0, 0.5, 0, 0, 0],
    ] and train.extra("sentiment").tolist() == [-1, 0, 3, 2]
    assert (
        list(train.extra("video")) == ["A", "A", "A", "B"]
        and np.allclose(train.extra("start"), [0.25, 1.4, 1, 0])
        and np.allclose(train.extra("end"), [1.5, 3, 2, 2])
    )
    assert train.text == [
        "hello world",
        "world again far",
        "world again",
        "one two",
    ] and valid.text == ["see"]


def test_unaligned_by_hand(source):
    s = Store(make(source, aligned=False))["train"]
    # A[0] 0.25-1.5: all rows that last beyond 0.25 and begin before 1.5, whatever their words
    # A[2] 0.6-0.9 has sound and sight, and no word
    assert s.store.name == "MOSEI, csd unaligned" and s.id.tolist() == [
        "A[0]",
        "A[1]",
        "A[2]",
        "A[3]",
        "B[0]",
    ]
    assert rows(s, "t") == [[1, 2], [2, 3, 5], [], [2, 3], [10, 20]]
    assert rows(s, "a") == [[2, 4, 9, 10, 0, 4], [4, 8, 5], [9], [10, 0, 4, 8], []]
    assert rows(s, "v") == [[1], [7], [1], [], [6, 8]]
    short = Store(make(source, "short.h5", aligned=False, steps={"a": 2, "t": 1}))["train"]
    assert (
        rows(short, "a") == [[2, 4], [4, 8], [9], [10, 0], []]
        and rows(short, "t") == [[1], [2], [], [2], [10]]
        and rows(short, "v") == rows(s, "v")
    )
    notes = " ".join(report(source.parent / "short.h5")["notes"])
    assert "5 after 1 rows of text, 3 after 2 rows of audio" in notes


def test_the_first_words_are_kept(source):
    assert rows(Store(make(source, words=1))["train"], "a") == [[3], [7], [7], []]
    assert any(
        "5 utterances are longer than 1 words" in n for n in report(source.parent / "s.h5")["notes"]
    )


def test_the_report_says_all(source):
    path = make(source)
    r, notes = report(path), "\n".join(report(path)["notes"])
    beside = source.parent / "s.report.json"
    assert json.loads(beside.read_text()) == r
    for words in (
        "1 videos with labels are in no fold and were dropped (D)",
        "1 videos of the folds have no labels",
        "1 utterances have no segment",
        "A[4]",
        "1 utterances have a label that is not finite",
        "A[5]",
        "1 utterances have no word",
        "A[2]",
        "1 utterances lack audio",
        "as in B[0]",
        "2 utterances lack vision",
        "A[3]",
        "C[0]",
        "1 rows of text lie at pauses",
        "3 rows of audio have times",
        "1 rows of text have times",
        "audio has values that are not finite (74 -inf)",
        "vision has values that are not finite (1 -inf, 1 +inf, 1 nan)",
        "CMU_MOSEI_COVAREP.csd (root 'COVAREP', 74 columns), by its name (root, metadata, file) "
        "and its width",
    ):
        assert words in notes, (words, notes)
    assert r["splits"]["train"]["rows"] == 4 and r["splits"]["train"]["videos"] == 2


def test_values_are_averaged_in_double():
    x = np.full((300_000, 1), 16777217 / 4, "f4") + np.float32(0.25)
    t = np.stack([np.arange(len(x)), np.arange(1, len(x) + 1)], 1) / 100
    assert average_rows(t, x, [(0, 3_000)])[0][0, 0] == x[0, 0]
    x = np.array([[3e38], [3e38], [1], [3]], "f4")
    assert np.allclose(
        average_rows([(0, 1), (0, 1), (1, 2), (1, 2)], x, [(0, 1), (1, 2)])[0][:, 0], [3e38, 2]
    )


def test_a_word_on_the_border(source):
    one, met = np.ones((1, 1), "f4"), lambda row, span: int(average_rows([row], one, [span])[1][0])
    assert [
        met(r, (1, 2))
        for r in [
            (0, 1),
            (0, 1 + 5e-6),
            (0, 1.001),
            (2, 3),
            (2 - 5e-6, 3),
            (1.999, 3),
            (1.2, 1.2),
            (1.2, 1.3),
            (0, 9),
            (1.3, 1.2),
            (np.nan, 2),
            (0, np.inf),
        ]
    ] == [0, 0, 1, 0, 0, 1, 0, 1, 1, 0, 0, 0]


# the same by a program that follows the description, row by row


@pytest.mark.parametrize("seed", range(4))
def test_random_files_as_described(tmp_path, seed, monkeypatch):
    split_of = {f"v{i}": ("train", "valid", "test")[i % 3] for i in range(6)}
    folds = {s: [v for v, k in split_of.items() if k == s] for s in ("train", "valid", "test")}
    if seed % 2:
        monkeypatch.setattr(module, "_WHOLE", 0)  # read blocks from the file
    monkeypatch.setattr(average_rows, "__defaults__", (74 * 8 * (7 if seed > 1 else 10_000),))
    folder = random_videos(tmp_path / "csd", seed=seed)
    holds(make(folder, folds=folds), described(folder, split_of))


# interruptions


def many(folder):
    return random_videos(folder, 20, 9, 12), {"train": [f"v{i}" for i in range(20)]}


def same(a, b):
    a, b = Store(a), Store(b)
    assert a.splits == b.splits
    for k in a.splits:
        x, y = (s[k].batch(range(a.splits[k])) for s in (a, b))
        assert x.id == y.id and all(
            (x.x[m] == y.x[m]).all() and (x.mask[m] == y.mask[m]).all() for m in x.modalities
        )
        assert a[k].text == b[k].text


def counting(monkeypatch, stop=None):
    "The videos that are cut; an error after `stop` of them."
    seen, cut = [], module.cut_video

    def f(found, video, *more):
        if stop is not None and len(seen) == stop:
            raise KeyboardInterrupt
        seen.append(video)
        return cut(found, video, *more)

    monkeypatch.setattr(module, "cut_video", f)
    return seen


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch, caplog):
    folder, folds = many(tmp_path / "csd")
    whole = make(folder, "whole.h5", folds)
    with monkeypatch.context() as m:
        counting(m, 19)
        with pytest.raises(KeyboardInterrupt):
            make(folder, folds=folds)
    assert not (tmp_path / "s.h5").exists() and (tmp_path / ".s.h5.csd-work").is_dir()
    seen = counting(monkeypatch)
    same(make(folder, folds=folds), whole)
    assert (
        sorted(seen) == sorted(f"v{i}" for i in range(20))[16:] and "anew" not in caplog.text
    )  # parts of 8
    a, b = report(tmp_path / "s.h5"), report(whole)
    assert any("16 of 20 videos were ready" in n for n in a["notes"])
    assert a["splits"] == b["splits"] and [n for n in a["notes"] if "ready" not in n] == b["notes"]
    assert {p.name for p in tmp_path.iterdir()} == {
        "csd",
        "s.h5",
        "s.report.json",
        "whole.h5",
        "whole.report.json",
    }


def test_a_killed_run_goes_on(tmp_path):
    folder, folds = many(tmp_path / "csd")
    whole = make(folder, "whole.h5", folds)
    program = f"""
import os, signal
from carat.data import csd, writer
kill, put = lambda *a: os.kill(os.getpid(), signal.SIGKILL), os.replace
def run(name, before=None, after=None):
    count = [0]
    def replace(a, b):
        count[0] += "part-" in str(b)
        if count[0] == before: kill()
        put(a, b)
        if count[0] == after: kill()
    if child := os.fork(): return os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    os.replace = replace
    if before is after: writer.StoreWriter._finish = kill
    csd.prepare_csd({str(folder)!r}, {str(tmp_path)!r} + "/" + name, {folds!r}, progress=False)
assert run("in a part.h5", before=2) and run("after a part.h5", after=2) and run("in the store.h5")
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    assert not [p for p in tmp_path.glob("*.h5") if p != whole]
    for name, ready in (("in a part", 8), ("after a part", 16), ("in the store", 20)):
        path = make(folder, f"{name}.h5", folds)
        assert any(f"{ready} of 20 videos were ready" in n for n in report(path)["notes"])
        same(path, whole)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name[0] == ".") == []


@pytest.mark.parametrize(
    "change, word",
    [
        ("source", "sources"),
        ("options", "options"),
        ("folds", "folds"),
        ("manifest", "sources"),
        ("no manifest", "sources"),
    ],
)
def test_another_run_begins_anew_and_says_so(tmp_path, monkeypatch, caplog, change, word):
    folder, folds = many(tmp_path / "csd")
    with monkeypatch.context() as m:
        counting(m, 19)
        with pytest.raises(KeyboardInterrupt):
            make(folder, folds=folds)
    manifest, how = tmp_path / ".s.h5.csd-work" / "manifest.json", {}
    if change == "source":
        os.utime(folder / "CMU_MOSEI_COVAREP.csd", (1, 1))
    if change == "options":
        how = {"words": 5}
    if change == "folds":
        folds = {"valid": folds["train"]}
    if change == "manifest":
        manifest.write_text("{")
    if change == "no manifest":
        manifest.unlink()
    seen = counting(monkeypatch)
    path = make(folder, folds=folds, **how)
    assert len(seen) == 20 and "began anew" in caplog.text and word in caplog.text
    assert any("began anew" in n for n in report(path)["notes"])


def test_damaged_parts_are_made_again(tmp_path, monkeypatch):
    folder, folds = many(tmp_path / "csd")
    whole = make(folder, "whole.h5", folds)
    with monkeypatch.context() as m:
        counting(m, 19)
        with pytest.raises(KeyboardInterrupt):
            make(folder, folds=folds)
    first, second = sorted((tmp_path / ".s.h5.csd-work").glob("part-*"))
    first.write_bytes(b"")
    b = bytearray(second.read_bytes())
    b[len(b) // 2] ^= 255
    second.write_bytes(b)
    same(make(folder, folds=folds), whole)


def test_a_full_disk_keeps_what_was_done(tmp_path, monkeypatch):
    folder, folds = many(tmp_path / "csd")
    savez, n = np.savez, []

    def full(f, **arrays):
        n.append(1)
        if len(n) == 2:
            f.write(b"half")
            raise OSError(28, "No space left on device")
        savez(f, **arrays)

    with monkeypatch.context() as m:
        m.setattr(np, "savez", full)
        said = message(lambda: make(folder, folds=folds))
    assert "No space left" in said and "are kept" in said
    assert (
        sorted(p.name for p in (tmp_path / ".s.h5.csd-work").iterdir())
        == ["lock", "manifest.json", "part-00000.npz"]
        and not (tmp_path / "s.h5").exists()
    )
    seen = counting(monkeypatch)
    make(folder, folds=folds)
    assert len(seen) == 12


def test_two_at_once(tmp_path):
    folder, folds = many(tmp_path / "csd")
    with WorkFolder(tmp_path / "s.h5", {}, "csd-work"):
        assert "in use" in message(lambda: make(folder, folds=folds))
    make(folder, folds=folds)


def test_a_source_that_changes_meanwhile(source, monkeypatch):
    cut = module.cut_video

    def f(*a):
        os.utime(source / "CMU_MOSEI_COVAREP.csd", (1, 1))
        return cut(*a)

    monkeypatch.setattr(module, "cut_video", f)
    assert (
        "changed while" in message(lambda: make(source)) and not (source.parent / "s.h5").exists()
    )


def test_no_overwriting_unless_asked(source):
    path = make(source)
    before = path.read_bytes()
    refused(source, "exists")
    assert path.read_bytes() == before
    make(source, words=1, overwrite=True)
    assert rows(Store(path)["train"], "t") == [[1], [2], [2], [10]]
    assert "folder" in message(lambda: prepare_csd(source, source.parent, FOLDS))


# folds


def test_folds_from_a_file(source):
    for name, folds in (
        ("f.json", FOLDS),
        ("g.json", {"train": ["A", "B"], "dev": ["C"], "test": [81406]}),
    ):
        (source.parent / name).write_text(json.dumps(folds))
        assert Store(make(source, f"{name}.h5", folds=source.parent / name)).splits == {
            "train": 4,
            "valid": 1,
        }
    assert read_folds({"test": [81406]})[0] == {"81406": "test"}


@pytest.mark.parametrize(
    "text, words",
    [
        ('{"train": ["A"], "valid": ["A"]}', ("'A'", "'train'", "'valid'")),
        ('{"train": {"A": 1}}', ("not a list",)),
        ('{"training": ["A"]}', ("'training'",)),
        ("[1]", ("no folds",)),
        ("{", ("f.json",)),
        ("{}", ("no video",)),
        ('{"train": [["A"]]}', ("not name",)),
        ('{"train": ["other"]}', ("none of the 4 videos",)),
        ("[" * 100_000, ("f.json",)),
        ("\xff", ("f.json",)),
    ],
)
def test_folds_that_are_none(source, text, words):
    path = source.parent / "f.json"
    path.write_text(text, encoding="latin-1")
    refused(source, *words, folds=path)


def test_folds_from_an_installed_module(source, tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "path", [p for p in sys.path if not os.path.isdir(os.path.join(p, "mmsdk"))]
    )
    refused(source, "mmsdk", "folds=FILE.json", folds=None)
    for i, place in enumerate(
        (
            "dataset/standard_datasets/CMU_MOSEI/cmu_mosei_std_folds.py",
            "cmu_mosei/standard_folds.py",
        )
    ):
        package = tmp_path / f"site{i}" / "mmsdk"
        file = package / "mmdatasdk" / place
        file.parent.mkdir(parents=True)
        for p in (package, package / "mmdatasdk"):
            (p / "__init__.py").write_text("raise RuntimeError('this must not be imported')\n")
        other = package / "mmdatasdk/dataset/standard_datasets/CMU_MOSI/cmu_mosi_std_folds.py"
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_text(
            "standard_train_fold = ['x']\nstandard_valid_fold = ['y']\nstandard_test_fold = ['z']\n"
        )
        file.write_text(
            "import nothing_of_this_name\nstandard_train_fold=['A', 'B']\n"
            "standard_valid_fold=['C']\nstandard_test_fold=['E']\n"
        )
        with monkeypatch.context() as m:
            m.syspath_prepend(tmp_path / f"site{i}")
            path = make(source, f"installed{i}.h5", folds=None)
            assert "mmsdk" not in sys.modules
        assert Store(path).splits == {"train": 4, "valid": 1} and any(
            file.name in n for n in report(path)["notes"]
        )
        assert Store(make(source, f"py{i}.h5", folds=file)).splits == {"train": 4, "valid": 1}
    file.write_text(
        "standard_train_fold = open('/etc/passwd')\n"
        "standard_valid_fold = []\nstandard_test_fold = []\n"
    )
    refused(source, "standard_folds.py", folds=file)


# which file is which


def rename(source, k, name, root=None, meta=True):
    path = source / f"CMU_MOSEI_{FILES[k][0]}.csd"
    if root is not None:
        with h5py.File(path, "r+") as f:
            f.move(FILES[k][1], root)
            if meta:
                f[f"{root}/metadata/root name"][0] = json.dumps(root)
    path.rename(source / name)


def test_names_do_not_matter_where_the_width_is_known(source):
    first = make(source)
    for i, k in enumerate(("t", "v", "a", "labels")):
        rename(source, k, f"file{i}.csd", f"x{i}")
    rename(source, "words", "file9.csd", "words")
    same(first, make(source, "t.h5"))


def test_the_root_may_lie(source):
    rename(
        source, "a", "CMU_MOSEI_COVAREP.csd", "glove_vectors", meta=False
    )  # a COVAREP file whose root says glove_vectors
    with h5py.File(
        source / "CMU_MOSEI_COVAREP.csd", "r+"
    ) as f:  # metadata that are rubbish are no obstacle
        del f["glove_vectors/metadata/root name"]
        f["glove_vectors/metadata/root name"] = np.array([b"\xff{["], "S3")
    found, notes = find_sequences(source)
    assert found["a"].root == "glove_vectors" and any(
        n.startswith("a: CMU_MOSEI_COVAREP.csd (root 'glove_vectors'")
        and "its name (file) and its width" in n
        for n in notes
    )
    make(source)


def test_openface_where_facet_is_not(source):
    write_file(
        source / "CMU_MOSEI_VisualOpenFace2.csd", "OpenFace_2", {"A": ([(0, 3)], wide([2], 713))}
    )
    assert Store(make(source)).modalities["v"] == 35 and any(
        "FACET 4.2 is there too" in n for n in report(source.parent / "s.h5")["notes"]
    )
    assert Store(make(source, "o.h5", vision="OpenFace_2")).modalities["v"] == 713
    (source / "CMU_MOSEI_VisualFacet42.csd").unlink()
    s = Store(make(source, "p.h5"))
    assert s.modalities["v"] == 713 and rows(s["train"], "v") == [[2, 2], [2, 2, 2], [2, 2], []]


def test_files_of_ones_own(source):
    write_file(
        source / "mine.csd",
        "my features",
        {"A": ([(0, 3)], wide([2], 5)), "B": ([(0, 3)], wide([3], 5))},
    )
    s = Store(make(source, audio="mine.csd"))
    assert s.modalities["a"] == 5 and rows(s["train"], "a") == [[2, 2], [2, 2, 2], [2, 2], [3, 3]]
    assert list(Store(make(source, "no.h5", audio="none")).modalities) == ["t", "v"]
    refused(source, "no file", audio="other.csd", name="q.h5")
    refused(source, "twice", audio="mine.csd", vision="mine.csd", name="q.h5")
    refused(source, "words", audio="CMU_MOSEI_TimestampedWords.csd", name="q.h5")


def test_words_are_the_clock_without_word_vectors(source):
    (source / "CMU_MOSEI_TimestampedWordVectors.csd").unlink()
    s = Store(make(source))
    assert (
        list(s.modalities) == ["v", "a"]
        and rows(s["train"], "a") == [[3, 7], [7, 6, 6.5], [7, 6], []]
        and rows(s["valid"], "a") == [[3]]
    )
    assert s["train"].text[0] == "hello world"


def test_without_the_transcript(source):
    (source / "CMU_MOSEI_TimestampedWords.csd").unlink()
    s = Store(make(source))["train"]
    assert s.text is None and rows(s, "a") == [[3, 7], [7, 6, 6.5], [7, 6], []]


def test_files_in_folders_below_and_vectors_with_pauses(source):
    (source / "raw").mkdir()
    (source / "CMU_MOSEI_TimestampedWords.csd").rename(
        source / "raw" / "CMU_MOSEI_TimestampedWords.csd"
    )
    shutil.copy(
        source / "CMU_MOSEI_TimestampedWordVectors.csd",
        source / "CMU_MOSEI_TimestampedGloveVectors_with_SP.csd",
    )
    shutil.copy(
        source / "raw" / "CMU_MOSEI_TimestampedWords.csd",
        source / "CMU_MOSEI_TimestampedPhones.csd",
    )
    rename(source, "t", "CMU_MOSEI_TimestampedWordVectors.csd")
    with h5py.File(source / "CMU_MOSEI_TimestampedPhones.csd", "r+") as f:
        f.move("words", "phones")
        f["phones/metadata/root name"][0] = '"phones"'
    path = make(source)
    assert (
        Store(path)["train"].text[0] == "hello world"
        and any("with_SP" in n and "not read" in n for n in report(path)["notes"])
        and any("Phones" in n and "not read" in n for n in report(path)["notes"])
    )


@pytest.mark.parametrize(
    "k, words", [("t", None), ("v", ("FACET",)), ("a", ("COVAREP",)), ("labels", ("Labels",))]
)
def test_a_missing_file_is_named(source, k, words):
    (source / f"CMU_MOSEI_{FILES[k][0]}.csd").unlink()
    if k == "t":
        (source / "CMU_MOSEI_TimestampedWords.csd").unlink()
    refused(source, f"CMU_MOSEI_{FILES[k][0]}.csd")


def test_no_files(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no .csd file")
    assert "no folder" in message(lambda: prepare_csd(tmp_path / "none", tmp_path / "s.h5", FOLDS))


def test_two_files_that_could_be_it(source):
    shutil.copy(source / "CMU_MOSEI_COVAREP.csd", source / "copy.csd")
    refused(source, "CMU_MOSEI_COVAREP.csd", "copy.csd", "audio=")


def edit(source, k, change):
    with h5py.File(source / f"CMU_MOSEI_{FILES[k][0]}.csd", "r+") as f:
        change(f, f[f"{FILES[k][1]}/data"])


def put(key, value):
    def change(f, data):
        if key in data:
            del data[key]
        if value is not None:
            data[key] = value

    return change


def all_rows(make):
    def change(f, data):
        for v in data:
            x = data[v]["features"][()]
            del data[v]["features"]
            data[v]["features"] = make(x)

    return change


@pytest.mark.parametrize(
    "k, change, words",
    [
        ("a", all_rows(lambda x: x[:, :73]), ("CMU_MOSEI_COVAREP.csd", "73", "74")),
        ("a", put("C/features", wide([1], 73)), ("'C'", "(1, 73)", "74")),
        ("a", put("C/features", wide([1, 2], 74)), ("'C'", "(1, 2)", "(2, 2)")),
        ("a", put("C/features", np.array([b"x"] * 74)[None]), ("'C'", "numbers")),
        ("a", put("C/features", None), ("'C'",)),
        ("a", put("C", 1.0), ("'C'",)),
        ("a", put("C/intervals", np.zeros((1, 3))), ("'C'", "(1, 3)")),
        ("a", put("C/intervals", np.array([[b"a", b"b"]])), ("'C'", "numbers")),
        ("t", all_rows(lambda x: x[:, 0]), ("TimestampedWordVectors", "(5,)")),
        ("labels", all_rows(lambda x: x[:, :6]), ("CMU_MOSEI_Labels.csd", "6", "7")),
        ("labels", put("A/features", np.array(LABEL_A, "f4")[:, ::-1] * 5), ("A[0]", "column")),
        ("labels", put("B/features", np.full((1, 7), -1, "f4")), ("B[0]", "'happy'", "-1")),
        ("labels", lambda f, data: f.create_group("second"), ("2 groups", "All Labels", "second")),
        ("labels", lambda f, data: f.move("All Labels", "x") or f.create_group("y"), ("2 groups",)),
        ("labels", lambda f, data: f["All Labels"].move("data", "dat"), ("'data'",)),
        ("labels", lambda f, data: [data.pop(v) for v in list(data)], ("no video",)),
        (
            "v",
            lambda f, data: [f["FACET 4.2/data"].move(v, f"{v}[0]") for v in list(data)],
            ("aligned already", "A[0]"),
        ),
    ],
)
def test_what_does_not_fit_is_named(source, k, change, words):
    edit(source, k, change)
    refused(source, FILES[k][0], *words)


def test_links_out_of_the_file_are_not_followed(source, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as f:
        f["x"], f["i"] = wide([1], 74), np.array([[0.0, 2.0]])

    def change(f, data):
        del data["C"]["features"]
        data["C"]["features"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/x")

    edit(source, "a", change)
    refused(source, "'C'", "another file")


def test_absurd_sizes_are_refused(source):
    def change(f, data):
        del data["C"]["features"], data["C"]["intervals"]
        data["C"].create_dataset("features", (10**9, 74), "f4", chunks=(1000, 74))
        data["C"].create_dataset("intervals", (10**9, 2), "f8", chunks=(1000, 2))

    edit(source, "a", change)
    refused(source, "'C'", "1000000000")


def test_metadata_are_a_hint(source):
    def change(f, data):
        del data.parent["metadata"]

    for k in FILES:
        edit(source, k, change)
    make(source)


@pytest.mark.parametrize("share", [0, 8, 700, 0.5, 0.999])
def test_a_truncated_file(source, share):
    path = source / "CMU_MOSEI_COVAREP.csd"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole)) if share < 1 else share])
    refused(source, "CMU_MOSEI_COVAREP.csd")


def test_nothing_usable(source):
    for v in "ABC":
        edit(
            source, "t", put(f"{v}/intervals", np.full((len({"A": "12345"}.get(v, "12")), 2), 99.0))
        )
    refused(source, "no utterance")


LONG = {
    "contiguous": {},
    "flat": {},
    "chunks": {"chunks": (2, 1)},
    "gzip": {"compression": "gzip"},
    "shuffled": {"compression": "gzip", "shuffle": True, "chunks": (2, 1)},
}


def long_words(source, how, change=lambda word: word):
    "The words of the fixture as variable-length strings."
    path = source / "CMU_MOSEI_TimestampedWords.csd"
    with h5py.File(path, "r+") as f:
        for v in f["words/data"].values():
            said = [change(w.decode()) for w in v["features"][()].ravel()]
            said = np.array(said, object)
            del v["features"]
            shape = said if how == "flat" else said[:, None]
            v.create_dataset("features", data=shape, dtype=h5py.string_dtype(), **LONG[how])
    return path


@pytest.mark.parametrize("how", LONG)
def test_words_of_any_length(source, how):
    first = make(source)
    long_words(source, how)
    second = make(source, "t.h5")
    same(first, second)
    assert Store(second)["train"].text[0] == "hello world"
    assert any("words: CMU_MOSEI_TimestampedWords.csd" in n for n in report(second)["notes"])


def test_long_and_empty_words(source):
    long_words(source, "gzip", lambda w: {"hello": "é" * 70_000, "world": ""}.get(w, w))
    assert Store(make(source))["train"].text[:2] == ["é" * 70_000, "again far"]


def test_words_of_any_length_as_the_clock(source):
    (source / "CMU_MOSEI_TimestampedWordVectors.csd").unlink()
    first = make(source)
    long_words(source, "chunks")
    same(first, make(source, "t.h5"))


@pytest.mark.slow
def test_damaged_words_of_any_length(tmp_path):
    "An error, or what is described; in a process of its own, since HDF5 loops on damaged heaps."
    fixture(tmp_path / "good")
    long_words(tmp_path / "good", "gzip")
    program = f"""
import os, shutil, sys
from pathlib import Path
sys.path.insert(0, {os.path.dirname(csd_files.__file__)!r})
from carat.core import CaratError
from carat.data.csd import prepare_csd
from csd_files import FOLDS, described, holds
from faults import damaged
os.fsync = lambda f: None
folder = Path({str(tmp_path)!r})
shutil.copytree(folder / "good", folder / "bad")
split_of, out, refused = {{"A": "train", "B": "train", "C": "valid"}}, folder / "s.h5", 0
name = "CMU_MOSEI_TimestampedWords.csd"
whole = (folder / "good" / name).read_bytes()
for i in range(90):
    print(i, flush=True)
    (folder / "bad" / name).write_bytes(damaged(whole, i))
    try:
        prepare_csd(folder / "bad", out, FOLDS, progress=False)
    except CaratError as e:
        refused += 1
    else:
        holds(out, described(folder / "bad", split_of))
        out.unlink()
    for p in folder.glob(".s*"):
        shutil.rmtree(p)
print("refused", refused)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, (done.stdout[-300:], done.stderr[-3000:])
    assert int(done.stdout.split()[-1]) > 20, done.stdout[-100:]


def parts_of_labels(source):
    "The labels in two files, six emotions and sentiment, as some releases have them."
    path = source / "CMU_MOSEI_Labels.csd"
    with h5py.File(path) as f:
        labels = {
            v: (g["intervals"][()], g["features"][()]) for v, g in f["All Labels/data"].items()
        }
    for name, root, columns in (
        ("LabelsEmotions", "Emotion Labels", slice(1, 7)),
        ("LabelsSentiment", "Opinion Segment Labels", slice(0, 1)),
    ):
        some = {v: (t, y[:, columns]) for v, (t, y) in labels.items()}
        write_file(source / f"CMU_MOSEI_{name}.csd", root, some)
    return path


def test_labels_in_parts(source):
    path = parts_of_labels(source)
    made = make(source)
    assert sum("all labels are in one file" in n for n in report(made)["notes"]) == 2
    path.unlink()
    said = refused(source, "CMU_MOSEI_LabelsEmotions.csd", "CMU_MOSEI_Labels.csd", name="t.h5")
    assert "7 columns" in said and "--text" not in said and "text=" not in said


def test_messages_name_options_of_the_command_line(source):
    shutil.copy(source / "CMU_MOSEI_COVAREP.csd", source / "copy.csd")
    refused(source, "--audio", "audio=")
    (source / "copy.csd").unlink()
    (source / "CMU_MOSEI_VisualFacet42.csd").unlink()
    refused(source, "--vision", "vision=")
    refused(source, "--folds", folds=source / "nothing.json", vision="none")


def test_folds_under_the_names_of_the_sdk(source):
    folds = {f"standard_{s}_fold": v for s, v in FOLDS.items()}
    (source.parent / "f.json").write_text(json.dumps(folds))
    path = make(source, folds=source.parent / "f.json")
    assert Store(path).splits == {"train": 4, "valid": 1}
    refused(source, "'standard_other_fold'", folds={"standard_other_fold": ["A"]}, name="t.h5")


def test_a_word_that_a_border_cuts_has_a_row_in_every_modality(source):
    "Audio covers only the end of the word, after the segment's border."
    for k, rows_of_a in (
        ("t", ([(0, 1), (1, 3)], wide([1, 2], 300))),
        ("a", ([(0, 1), (2.5, 3)], wide([4, 6], 74))),
        ("v", ([(0, 3)], wide([5], 35))),
        ("labels", ([(0, 2)], np.zeros((1, 7), "f4"))),
    ):
        videos = {"A": rows_of_a}
        write_file(source / f"CMU_MOSEI_{FILES[k][0]}.csd", FILES[k][1], videos)
    s = Store(make(source, folds={"train": ["A"]}))["train"]
    assert [rows(s, m) for m in "tva"] == [[[1, 2]], [[5, 5]], [[4, 6]]]


def test_odd_ids_and_files_without_compression(source):
    names = {"A": "-é 'x\"", "B": "a b.c", "C": "视频", "D": "D"}
    first = Store(make(source))
    for file, root in FILES.values():
        path = source / f"CMU_MOSEI_{file}.csd"
        with h5py.File(path) as f:
            videos = {
                names[v]: (g["intervals"][()], g["features"][()])
                for v, g in f[f"{root}/data"].items()
            }
        write_file(path, root, videos, compression=None)
    folds = {s: [names.get(v, v) for v in videos] for s, videos in FOLDS.items()}
    second = Store(make(source, "t.h5", folds=folds))
    assert second.splits == first.splits
    for s in first.splits:
        known = {v: first[s].batch([i]) for i, v in enumerate(first[s].id)}
        for i, renamed in enumerate(second[s].id):
            video, place = renamed.rsplit("[", 1)
            old = next(v for v, name in names.items() if name == video)
            batch = second[s].batch([i])
            for m, x in known[f"{old}[{place}"].x.items():
                assert (x == batch.x[m]).all()


def test_a_file_that_this_process_holds_open(source):
    "With HDF5's own lock: shared if it only reads, and called locked if it writes."
    first = make(source)
    path = source / "CMU_MOSEI_COVAREP.csd"
    with h5py.File(path, "r"):
        same(first, make(source, "t.h5"))
    with h5py.File(path, "r+"):
        said = refused(source, "CMU_MOSEI_COVAREP.csd", "locked", name="u.h5")
    assert "damaged" not in said


@pytest.mark.slow
def test_damaged_files_are_an_error_or_what_they_say(tmp_path):
    """Bytes flipped, files cut and spliced: an error that a user can read, or what is described.

    In a process of its own, since the HDF5 library might give up.
    """
    fixture(tmp_path / "good")
    program = f"""
import faulthandler, shutil, sys
from pathlib import Path
faulthandler.enable()
sys.path.insert(0, {os.path.dirname(csd_files.__file__)!r})
import os
import numpy as np
from carat.core import CaratError
from carat.data.csd import prepare_csd
from carat.data.store import check_store
from csd_files import FOLDS, described, holds
from faults import damaged
os.fsync = lambda f: None  # the disk's own speed is no matter here
folder = Path({str(tmp_path)!r})
shutil.copytree(folder / "good", folder / "bad")
split_of, out, refused, right = {{"A": "train", "B": "train", "C": "valid"}}, folder / "s.h5", 0, 0
files = sorted((folder / "good").iterdir())
for i in range(240):
    f = files[i // 48]
    print(i, f.name, flush=True)
    (folder / "bad" / f.name).write_bytes(damaged(f.read_bytes(), i))
    try:
        prepare_csd(folder / "bad", out, FOLDS, progress=False)
    except CaratError as e:
        refused += 1
        assert len(str(e)) > 20 and not out.exists(), e
    else:
        check_store(out)
        holds(out, described(folder / "bad", split_of))
        right += 1
        out.unlink()
        (folder / "s.report.json").unlink()
    for p in folder.glob(".s*"):
        shutil.rmtree(p)
    shutil.copy(f, folder / "bad" / f.name)
    assert {{p.name for p in folder.iterdir()}} == {{"good", "bad"}}
print("refused", refused, "right", right)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, (done.stdout[-300:], done.stderr[-3000:])
    refused, right = (int(v) for v in done.stdout.split()[-3::2])
    assert refused + right == 240 and refused > 100 and right > 20, done.stdout[-100:]
