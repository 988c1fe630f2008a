"The work folder: parts that are whole or absent, and never those of other work."

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from hostile import message

from carat.data import resume
from carat.data.resume import WorkFolder

MANIFEST = {"sources": ["a", 1], "options": [True]}


def saved(tmp_path, parts=(0, 2), manifest=MANIFEST):
    with WorkFolder(tmp_path / "x.h5", manifest) as work:
        for i in parts:
            work.save(i, {"x": np.full(3, i), "none": np.zeros((0, 4), "f4")}, {"id": [f"é{i}"]})
    return work


def test_parts_are_kept(tmp_path):
    assert saved(tmp_path).path == tmp_path / ".x.h5.work"
    with WorkFolder(tmp_path / "x.h5", MANIFEST) as work:
        assert [work.ready(i) for i in range(4)] == [True, False, True, False] and not work.said
        arrays, meta = work.load(2)
        assert arrays["x"].tolist() == [2] * 3 and arrays["none"].shape == (0, 4)
        assert arrays["none"].dtype == "f4" and meta == {"id": ["é2"]} and work.load(1) is None
        work.clear()
    assert list(tmp_path.iterdir()) == []


def test_names_of_folders_keep_work_apart(tmp_path):
    saved(tmp_path)
    with WorkFolder(tmp_path / "x.h5", MANIFEST, "other-work") as work:
        assert not work.ready(0) and work.path.name == ".x.h5.other-work"


@pytest.mark.parametrize(
    "before, words",
    [
        ({**MANIFEST, "options": [False]}, "other options."),
        ({"sources": 1}, "other sources and options."),
        ([1], "other sources and options."),
        ("damaged", "other sources and options."),
        ("gone", "other sources and options."),
    ],
)
def test_other_work_is_removed_and_said(tmp_path, before, words):
    work = saved(tmp_path)
    manifest = work.path / "manifest.json"
    manifest.write_text("{" if before == "damaged" else json.dumps(before))
    if before == "gone":
        manifest.unlink()
    with WorkFolder(tmp_path / "x.h5", MANIFEST) as work:
        assert words in work.said and "began anew" in work.said and not work.ready(0)
        assert json.loads(manifest.read_text()) == MANIFEST


def test_an_error_before_the_first_part_leaves_nothing(tmp_path):
    for parts, left in (((), []), ((1,), [".x.h5.work"])):
        with pytest.raises(KeyboardInterrupt), WorkFolder(tmp_path / "x.h5", MANIFEST) as work:
            for i in parts:
                work.save(i, {}, {})
            raise KeyboardInterrupt
        assert [p.name for p in tmp_path.iterdir()] == left


@pytest.mark.parametrize(
    "change", [lambda b: b[:-9], lambda b: b"", lambda b: b[:80] + b"x" + b[81:]]
)
def test_a_damaged_part_is_not_there(tmp_path, change):
    work = saved(tmp_path)
    part = work.path / "part-00000.npz"
    part.write_bytes(change(part.read_bytes()))
    assert work.load(0) is None and work.load(2) is not None


def test_two_at_once(tmp_path):
    with WorkFolder(tmp_path / "x.h5", MANIFEST):
        assert "in use" in message(WorkFolder(tmp_path / "x.h5", MANIFEST).__enter__)
    saved(tmp_path)


def test_without_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "fcntl", None)
    saved(tmp_path)


def test_a_disk_that_refuses(tmp_path, monkeypatch):
    def full(*a):
        raise OSError(28, "No space left on device")

    with WorkFolder(tmp_path / "x.h5", MANIFEST) as work:
        work.save(0, {"x": np.ones(2)}, {})
        monkeypatch.setattr(os, "fsync", full)
        said = message(work.save, 1, {"x": np.ones(2)}, {})
    assert "No space left" in said and "are kept" in said
    assert sorted(p.name for p in work.path.iterdir()) == [
        "lock",
        "manifest.json",
        "part-00000.npz",
    ]
    (tmp_path / "file").write_text("")
    assert "work folder" in message(WorkFolder(tmp_path / "file" / "x.h5", MANIFEST).__enter__)


def test_killed_in_a_part(tmp_path):
    program = f"""
import os, signal
from pathlib import Path
from carat.data.resume import WorkFolder
with WorkFolder(Path({str(tmp_path / "x.h5")!r}), {MANIFEST!r}) as work:
    work.save(0, {{}}, {{"n": 0}})
    os.fsync = lambda f: os.kill(os.getpid(), signal.SIGKILL)
    work.save(1, {{}}, {{"n": 1}})
"""
    killed = subprocess.run([sys.executable, "-c", program])
    assert killed.returncode == -signal.SIGKILL
    with WorkFolder(tmp_path / "x.h5", MANIFEST) as work:
        assert work.load(0) == ({}, {"n": 0}) and not work.ready(1) and not work.said
        work.clear()
    assert list(tmp_path.iterdir()) == []
