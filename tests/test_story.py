"""An engineer's afternoon: four modalities under other names, 200 steps, clips without labels.

From an empty folder to a CSV file of predictions and three plots, with the commands alone."""

import csv
import json

import numpy as np
import pytest

from carat.cli import main
from carat.data.store import Store

STEPS, LABELS = 200, ("calm", "tense", "bored")
WIDTHS = {"words": 6, "face": 5, "voice": 4, "pulse": 2}
TINY = (
    "--model.layers 1 1 1 1 --model.d 16 --model.d-z 8 --model.d-h 8 --model.heads 2 --model.ff 16"
    " --model.queue 64 --epochs 1 --batch-size 16 --lr 0.002 --device cpu"
)


def features(rng, y):
    "(n, 200, width) of every modality; what is labelled shows in the last steps only."
    found = {}
    for m, width in WIDTHS.items():
        x = rng.normal(size=(len(y), STEPS, width)).astype("f4")
        x[:, 150:, 0] += 3 * y[:, :1]
        found |= {m: x, f"{m}_length": np.full(len(y), STEPS)}
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    d, rng = tmp_path_factory.mktemp("story"), np.random.default_rng(0)
    y = (rng.random((40, 3)) < 0.4).astype("f4")
    split = np.repeat(["train", "valid", "test"], [24, 8, 8])
    np.savez(d / "mine.npz", y=y, labels=LABELS, split=split, **features(rng, y))
    np.savez(d / "new.npz", id=[f"new {i}" for i in range(7)], **features(rng, y[:7]))
    return d


@pytest.fixture
def carat(folder, monkeypatch, capsys):
    "A command, which must succeed, and what it prints."
    monkeypatch.chdir(folder)

    def run(line):
        code = main(line.split())
        said = capsys.readouterr()
        assert code == 0, said.err
        return said.out

    return run


def test_from_an_empty_folder_to_predictions_and_plots(folder, carat):
    said = carat("prepare arrays mine.npz --out mine.h5")
    for m, width in WIDTHS.items():
        assert f"'{m}': features, (N, 200, {width}) float32" in said
    assert dict(Store(folder / "mine.h5").modalities) == WIDTHS

    said = carat(f"train mine.h5 --out run {TINY}")
    steps = [f"{m} (width {w}, 1 layer, 200 steps)" for m, w in WIDTHS.items()]
    assert f"modalities: {', '.join(steps)}" in said
    assert "not read" not in said
    config = json.loads((folder / "run/config.json").read_text())
    assert config["model"]["config"]["max_steps"] == STEPS
    for about in config["summary"]["modalities"].values():
        assert about["steps"] == STEPS and about["unread"] == 0

    assert "micro-F1" in carat("evaluate run mine.h5 --device cpu --out test.json")
    assert 0 <= json.loads((folder / "test.json").read_text())["f1"] <= 1

    carat("predict run new.npz --device cpu --out new.csv")
    with open(folder / "new.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert [r["id"] for r in rows] == [f"new {i}" for i in range(7)]
    assert list(rows[0]) == ["id", "labels", *LABELS, *(f"{c}_from" for c in LABELS)]
    assert all(r[f"{c}_from"] in WIDTHS for r in rows for c in LABELS)

    plots = [p for p in carat("plot run mine.h5 --device cpu").split() if p.endswith(".png")]
    for name in ("history", "reliability", "relevance"):
        assert f"run/figures/{name}.png" in plots
    assert all((folder / p).read_bytes()[:4] == b"\x89PNG" for p in plots)


def test_a_change_of_the_last_steps_changes_the_scores(folder, carat):
    "All 200 steps are read."
    changed = dict(np.load(folder / "new.npz"))
    for m in WIDTHS:
        changed[m][:, 190:, 0] += 50
    np.savez(folder / "changed.npz", **changed)
    for name in ("new", "changed"):
        carat(f"predict run {name}.npz --device cpu --out {name}-again.csv")
    first, second = ((folder / f"{n}-again.csv").read_text() for n in ("new", "changed"))
    assert first != second


def test_a_modality_of_one_number_is_refused_where_nothing_of_it_would_be_read(folder, capsys):
    arrays = dict(np.load(folder / "mine.npz"))
    one = {k: arrays[k] for k in ("y", "labels", "split", "pulse_length")}
    np.savez(folder / "one.npz", **one, pulse=arrays["pulse"][..., :1])
    store = str(folder / "one.h5")
    assert main(["prepare", "arrays", str(folder / "one.npz"), "--out", store]) == 0
    line = ["train", store, "--out", str(folder / "one"), *TINY.replace("1 1 1 1", "1").split()]
    capsys.readouterr()
    assert main(line) == 2
    assert "--model.no-input-norm" in capsys.readouterr().err
    assert main([*line, "--model.no-input-norm", "--epochs", "1"]) == 0


def test_the_same_from_python(folder):
    from carat import predict

    found = predict(folder / "run", folder / "new.npz")
    with open(folder / "new.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    scores = np.array([[float(r[c]) for c in LABELS] for r in rows])
    np.testing.assert_allclose(found.scores, scores, rtol=1e-5)
    assert found.id == [r["id"] for r in rows]
