"The command line, end to end on a tiny synthetic twin, and what it says when the input is wrong."

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import Command

from carat import cli
from carat.data.store import Store
from carat.data.writer import StoreWriter

SMALL = [
    "--model.layers",
    "1",
    "1",
    "1",
    "--model.d",
    "16",
    "--model.d-z",
    "8",
    "--model.d-h",
    "8",
    "--model.heads",
    "2",
    "--model.ff",
    "16",
    "--model.queue",
    "256",
    "--device",
    "cpu",
    "--batch-size",
    "32",
]


def carat(*argv):
    return cli.main([str(a) for a in argv])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "A twin, and a run trained on it for two epochs."
    d = tmp_path_factory.mktemp("cli")
    assert carat("prepare", "twin", "--out", d / "twin.h5", "--size", 150, "--seed", 3) == 0
    assert carat("train", d / "twin.h5", "--out", d / "run", "--epochs", 2, "--quiet", *SMALL) == 0
    return d


def says(capsys, code, *words):
    "One line on standard error that holds the words, and the exit status."
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == 2, err
    assert len(lines) == 1 and lines[0].startswith("carat: "), err
    assert "Traceback" not in err
    for word in words:
        assert str(word) in lines[0], (word, lines[0])


def test_run_folder(folder):
    config = json.loads((folder / "run/config.json").read_text())
    assert config["model"]["name"] == "carat" and config["model"]["config"]["layers"] == [1, 1, 1]
    assert (
        config["training"]["epochs"] == 2
        and config["seed"] == 1
        and config["device"]["type"] == "cpu"
    )
    assert config["data"]["modalities"] == {"t": 300, "v": 35, "a": 74} and {
        "torch",
        "carat",
        "python",
        "numpy",
    } <= set(config["versions"])
    history = [json.loads(line) for line in (folder / "run/history.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in history] == [1, 2] and all(
        {"losses", "lr", "valid", "seconds"} <= set(r) for r in history
    )
    metrics = json.loads((folder / "run/metrics.json").read_text())
    assert metrics["valid"]["f1"] == max(r["valid"]["f1"] for r in history)
    assert list((folder / "run/tensorboard").glob("events.*"))
    assert not [p for p in (folder / "run").iterdir() if p.name.startswith(".")]


def test_check(folder, capsys):
    assert carat("check", folder / "twin.h5") == 0
    out = capsys.readouterr().out
    assert "train" in out and "surprise" in out and "300" in out


def test_evaluate(folder, capsys):
    assert (
        carat(
            "evaluate",
            folder / "run",
            folder / "twin.h5",
            "--split",
            "valid",
            "--device",
            "cpu",
            "--out",
            folder / "valid.json",
        )
        == 0
    )
    assert "micro-F1" in capsys.readouterr().out
    assert (
        json.loads((folder / "valid.json").read_text())
        == json.loads((folder / "run/metrics.json").read_text())["valid"]
    )


def test_predict(folder):
    assert (
        carat(
            "predict",
            folder / "run",
            folder / "twin.h5",
            "--split",
            "test",
            "--device",
            "cpu",
            "--out",
            folder / "test.csv",
        )
        == 0
    )
    store = Store(folder / "twin.h5")
    threshold = json.loads((folder / "run/metrics.json").read_text())["threshold"]
    with open(folder / "test.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert [r["id"] for r in rows] == [str(i) for i in store["test"].id]
    assert list(rows[0]) == ["id", "labels", *store.labels, *(f"{c}_from" for c in store.labels)]
    for r in rows:
        assert (
            r["labels"].split(";") == [c for c in store.labels if float(r[c]) > threshold]
            or not r["labels"]
        )
        assert all(
            0 <= float(r[c]) <= 1 and r[f"{c}_from"] in store.modalities for c in store.labels
        )


def test_presets_and_overrides(folder, tmp_path):
    assert (
        carat(
            "train",
            folder / "twin.h5",
            "--out",
            tmp_path / "ref",
            "--preset",
            "reference",
            "--epochs",
            1,
            "--quiet",
            "--model.gamma-s",
            0.1,
            *SMALL,
        )
        == 0
    )
    config = json.loads((tmp_path / "ref/config.json").read_text())
    assert (
        config["model"]["config"]["rec_norm"] == "mse"
        and config["model"]["config"]["gamma_s"] == 0.1
    )
    assert (
        config["training"]["optimizer"] == "bertadam"
        and config["training"]["threshold"] == 0.25
        and config["training"]["drop_last"]
    )
    small = [a for a in SMALL if a != "--model.layers"]
    one = ["--modalities", "v", "--model.layers", "1", *small[3:]]
    assert (
        carat(
            "train", folder / "twin.h5", "--out", tmp_path / "one", "--epochs", 1, "--quiet", *one
        )
        == 0
    )
    assert json.loads((tmp_path / "one/config.json").read_text())["model"]["config"][
        "modalities"
    ] == {"v": 35}
    assert (
        carat("evaluate", tmp_path / "one", folder / "twin.h5", "--device", "cpu") == 0
    )  # the other modalities are not looked at


def test_an_existing_run_is_not_overwritten_unasked(folder, tmp_path, capsys):
    shutil.copytree(folder / "run", tmp_path / "run")
    before = (tmp_path / "run/best.safetensors").read_bytes()
    code = carat(
        "train", folder / "twin.h5", "--out", tmp_path / "run", "--epochs", 1, "--quiet", *SMALL
    )
    says(capsys, code, tmp_path / "run", "--overwrite")
    assert (tmp_path / "run/best.safetensors").read_bytes() == before
    assert (
        carat(
            "train",
            folder / "twin.h5",
            "--out",
            tmp_path / "run",
            "--epochs",
            1,
            "--seed",
            2,
            "--quiet",
            "--overwrite",
            *SMALL,
        )
        == 0
    )
    assert len((tmp_path / "run/history.jsonl").read_text().splitlines()) == 1


# ---- what is wrong gets one clear line


def write(path, labels=("happy", "sad"), widths=None, splits=("train", "valid", "test"), n=40):
    rng, widths = np.random.default_rng(0), widths or {"t": 4, "v": 3}
    with StoreWriter(path, "small", labels, widths) as w:
        for s in splits:
            for i in range(n):
                w.add(
                    s,
                    f"{s}{i}",
                    (rng.random(len(labels)) < 0.5).astype("f4"),
                    {m: rng.normal(size=(3, d)).astype("f4") for m, d in widths.items()},
                )
    return path


def test_missing_split(tmp_path, folder, capsys):
    store = write(tmp_path / "s.h5", splits=("train", "test"))
    says(
        capsys,
        carat("train", store, "--out", tmp_path / "r", "--quiet", "--device", "cpu"),
        "no split 'valid'",
        "train",
        "test",
    )
    assert not (tmp_path / "r").exists()
    says(
        capsys,
        carat("evaluate", folder / "run", folder / "twin.h5", "--split", "dev", "--device", "cpu"),
        "dev",
        "valid",
    )


def test_nan(tmp_path, capsys):
    import h5py

    store = write(tmp_path / "s.h5")
    with h5py.File(store, "r+") as f:
        f["train/v/values"][7, 1] = np.nan
    says(capsys, carat("check", store), "'v'", "train2", "nan")
    code = carat(
        "train", store, "--out", tmp_path / "r", "--quiet", "--model.layers", "1", "1", *SMALL[4:]
    )
    says(capsys, code, "'v'", "train2", "nan")


def test_other_widths_and_labels(tmp_path, folder, capsys):
    wide = write(
        tmp_path / "wide.h5",
        labels=Store(folder / "twin.h5").labels,
        widths={"t": 300, "v": 36, "a": 74},
        n=3,
    )
    says(capsys, carat("evaluate", folder / "run", wide, "--device", "cpu"), "'v'", 36, 35, wide)
    few = write(
        tmp_path / "few.h5",
        labels=Store(folder / "twin.h5").labels,
        widths={"t": 300, "a": 74},
        n=3,
    )
    says(
        capsys,
        carat("predict", folder / "run", few, "--out", tmp_path / "x.csv", "--device", "cpu"),
        "'v'",
        "t, a",
    )
    turned = write(
        tmp_path / "turned.h5",
        labels=Store(folder / "twin.h5").labels[::-1],
        widths={"t": 300, "v": 35, "a": 74},
        n=3,
    )
    says(
        capsys,
        carat("evaluate", folder / "run", turned, "--device", "cpu"),
        "another order",
        "fear, disgust",
    )
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize(
    "name", ["config.json", "history.jsonl", "best.safetensors", "metrics.json"]
)
def test_incomplete_run(name, tmp_path, folder, capsys):
    shutil.copytree(folder / "run", tmp_path / "run")
    whole = (tmp_path / "run" / name).read_bytes()
    (tmp_path / "run" / name).write_bytes(whole[: len(whole) // 2])  # half a file
    says(
        capsys,
        carat("evaluate", tmp_path / "run", folder / "twin.h5", "--device", "cpu"),
        tmp_path / "run",
        "damaged",
    )
    (tmp_path / "run" / name).unlink()  # none
    says(
        capsys,
        carat("evaluate", tmp_path / "run", folder / "twin.h5", "--device", "cpu"),
        tmp_path / "run",
        name,
        "missing",
    )


@pytest.mark.parametrize(
    "argv, words",
    [
        (["check", "no.h5"], ["no.h5"]),
        (["evaluate", "no-run", "twin.h5"], ["no-run"]),
        (["train", "twin.h5", "--out", "r", "--epochs", "0"], ["epochs"]),
        (["train", "twin.h5", "--out", "r", "--threshold", "2"], ["threshold"]),
        (["train", "twin.h5", "--out", "r", "--modalities", "x"], ["no modality x"]),
        (["train", "twin.h5", "--out", "r", "--model.heads", "7", "--device", "cpu"], ["heads"]),
        (
            ["train", "twin.h5", "--out", "r", "--model.agg", "mean", "--device", "cpu"],
            ["agg", "shuffle"],
        ),
        (["train", "twin.h5", "--out", "r", "--device", "cuda:99"], ["cuda:99"]),
        (["prepare", "twin", "--out", "twin.h5"], ["twin.h5"]),
        (["prepare", "arrays", "no.npz", "--out", "x.h5"], ["no.npz"]),
        (["predict", "run", "twin.h5", "--device", "cpu", "--out", "run"], ["run"]),
        (
            ["predict", "run", "twin.h5", "--device", "cpu", "--out", "nowhere/x.csv"],
            ["nowhere/x.csv"],
        ),
        (
            ["evaluate", "run", "twin.h5", "--device", "cpu", "--out", "nowhere/x.json"],
            ["nowhere/x.json cannot be written"],
        ),
        (["trian", "twin.h5", "--out", "r"], ["'trian'", "did you mean train?"]),
        (["train", "twin.h5", "--out", "r", "--seeds", "1,2"], ["1,2", "by spaces, as in 1 2"]),
        (["train", "twin.h5", "--out", "r", "--seeds=1,2"], ["by spaces, as in 1 2"]),
        (["train", "twin.h5", "--out", "r", "--epochs", "1", "--model.layers=-1"], ["layers"]),
        (["evaluate", "twin.h5", "run"], ["twin.h5 is a file", "run folder first"]),
        (["plot", "twin.h5", "run"], ["twin.h5 is a file", "run folder first"]),
        (
            ["predict", "twin.h5", "run", "--out", "x.csv"],
            ["twin.h5 is a file", "run folder first"],
        ),
        (["evaluate", "run", "run"], ["run is a folder, not a store", "separately"]),
        (["train", "twin.h5", "--out", "r", "--model.heads", "0"], ["heads is 0", "at least 1"]),
        (["train", "twin.h5", "--out", "r", "--model.d", "0"], ["d is 0", "at least 1"]),
        (["export", "twin.h5", "--out", "m.pt2"], ["twin.h5 is a file", "run folder first"]),
        (["train", "run", "--out", "r"], ["run", "folder"]),
        (["train", "twin.h5", "--out", "nowhere", "--resume"], ["nowhere: no such run folder"]),
        (["predict", "run", "twin.h5", "--out", "x.csv", "--threshold", "5"], ["from 0 to 1"]),
    ],
)
def test_one_line(argv, words, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    says(capsys, carat(*argv), *words)


def test_options_that_equal_the_default_are_used(tmp_path):
    "Of modalities under other names, `--model.layers 6 4` is 6 and 4, whatever the default is."
    store = write(tmp_path / "s.h5", widths={"words": 4, "face": 3})
    rest = "--model.d 8 --model.d-z 4 --model.d-h 4 --model.heads 2 --model.ff 8 --model.queue 64"
    line = f"{rest} --epochs 1 --batch-size 32 --device cpu --quiet"
    command = ["train", store, "--out", tmp_path / "r", "--model.layers", 6, 4, *line.split()]
    assert carat(*command) == 0
    config = json.loads((tmp_path / "r/config.json").read_text())
    assert config["model"]["config"]["layers"] == [6, 4]
    assert config["summary"]["modalities"]["words"]["layers"] == 6


def test_a_run_says_what_it_trains_and_what_is_not_read(folder, tmp_path, capsys):
    line = ["train", folder / "twin.h5", "--out", tmp_path / "r", "--epochs", 1]
    assert carat(*line, "--model.max-steps", 10, *SMALL) == 0
    said = capsys.readouterr().out
    assert "t (width 300, 1 layer, 10 steps)" in said and "labels: happy, sad" in said
    assert "preset" in said and "parameters" in said and "float32 on cpu, seed 1" in said
    assert "of the steps of modality t lie beyond max_steps = 10 and are not read" in said
    assert "--model.max-steps" in said


def test_early_stopping_weights_and_a_threshold_per_label(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    how = "--epochs 9 --lr 0 --patience 2 --label-weights balanced --threshold label"
    assert carat("train", folder / "twin.h5", "--out", "r", *how.split(), *SMALL) == 0
    assert "ended after epoch 3" in capsys.readouterr().out
    config, metrics = (
        json.loads(Path("r", f"{n}.json").read_text()) for n in ("config", "metrics")
    )
    used = config["training"]
    assert [used[k] for k in ("patience", "label_weights", "threshold")] == [2, "balanced", "label"]
    cut, labels = metrics["threshold"], Store(folder / "twin.h5").labels
    assert metrics["stopped"]["epoch"] == 3 and len(set(cut)) > 1
    assert carat("predict", "r", folder / "twin.h5", "--device", "cpu", "--out", "p.csv") == 0
    assert f"above {cut[0]:.4f}, {cut[1]:.4f}" in capsys.readouterr().out
    with open("p.csv", newline="") as f:
        for r in csv.DictReader(f):
            over = [c for c, t in zip(labels, cut, strict=True) if float(r[c]) > t]
            assert r["labels"] == ";".join(over)


def test_a_folder_of_seeds_is_evaluated_run_by_run(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = ["train", folder / "twin.h5", "--out", "r", "--seeds", 1, 2, "--jobs", 1]
    assert carat(*line, "--epochs", 1, "--quiet", *SMALL) == 0
    data = (folder / "twin.h5", "--device", "cpu", "--out")
    assert carat("evaluate", "r", *data, "r.json") == 0
    said = capsys.readouterr().out
    words = "seed 1", "seed 2", "always every label", "mean", "sd"
    assert all(word in said for word in words), said
    f1 = []
    for seed in (1, 2):
        assert carat("evaluate", f"r/seed-{seed}", *data, f"{seed}.json") == 0
        f1.append(json.loads(Path(f"{seed}.json").read_text())["f1"])
    found = json.loads(Path("r.json").read_text())
    assert [m["f1"] for m in found["runs"].values()] == f1 and found["split"] == "test"
    assert found["spread"]["f1"]["mean"] == pytest.approx(np.mean(f1))
    assert found["spread"]["f1"]["sd"] == pytest.approx(np.std(f1, ddof=1))


def test_all_figures_of_a_run_as_vectors(folder, tmp_path):
    line = ["plot", folder / "run", folder / "twin.h5", "--format", "svg", "--out", tmp_path / "f"]
    assert carat(*line, "--device", "cpu") == 0
    drawn = {p.stem: p.read_text() for p in (tmp_path / "f").iterdir()}
    attention = {f"attention_{m}" for m in "tva"}
    assert set(drawn) == {"history", "reliability", "confused_pairs", "relevance", *attention}
    assert all("<svg" in text for text in drawn.values())


def test_there_is_one_option_for_steps_and_its_name_is_said(folder, tmp_path, capsys):
    line = ["train", folder / "twin.h5", "--out", tmp_path / "r", "--max-steps", 200]
    with pytest.raises(SystemExit) as stopped:
        carat(*line)
    said = capsys.readouterr()
    assert stopped.value.code == 2 and "--model.max-steps" in said.out + said.err
    assert not (tmp_path / "r").exists()


def test_results_are_not_overwritten_unasked(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    for command, out in (("predict", "kept.csv"), ("evaluate", "kept.json")):
        (folder / out).write_text("mine")
        line = [command, "run", "twin.h5", "--device", "cpu", "--out", out]
        says(capsys, carat(*line), out, "--overwrite")
        assert (folder / out).read_text() == "mine"
        assert carat(*line, "--overwrite") == 0 and (folder / out).read_text() != "mine"
    assert carat("plot", "run", "--out", "figures", "--device", "cpu") == 0
    capsys.readouterr()
    says(capsys, carat("plot", "run", "--out", "figures", "--device", "cpu"), "--overwrite")


def test_why_acc_lies_below_f1_is_said_beside_it(folder, capsys):
    line = ["evaluate", folder / "run", folder / "twin.h5", "--split", "valid", "--device", "cpu"]
    assert carat(*line) == 0
    y = Store(folder / "twin.h5")["valid"].y
    silent = int((y.sum(1) == 0).sum())
    assert silent
    said = capsys.readouterr().out
    assert f"{silent} of {len(y)} samples have no label and count 0 in Acc" in said
    assert f"so Acc is at most {1 - silent / len(y):.3f}" in said


@pytest.mark.parametrize(
    "command, words",
    [
        (
            "mosei",
            ("train_valid_test.pt (about 5 GB)", "noalign.pkl (about 10 GB)", "MulT", "16,326"),
        ),
        ("m3ed", ("annotation.json is part of the M3ED release", "685 / 126 / 179")),
    ],
)
def test_help_says_where_the_data_are_had(command, words, capsys):
    with pytest.raises(SystemExit):
        carat("prepare", command, "--help")
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for word in (*words, "contains none of these files", "ask where you get them"):
        assert word in said, said


def test_the_version(capsys):
    import carat as package

    assert carat("--version") == 0
    assert capsys.readouterr().out == f"carat {package.__version__}\n"


def test_own_arrays(tmp_path):
    rng = np.random.default_rng(0)
    n = 30
    np.savez(
        tmp_path / "mine.npz",
        id=np.array([f"c{i}" for i in range(n)]),
        y=(rng.random((n, 2)) < 0.5).astype("f4"),
        split=np.array(["train"] * 20 + ["valid"] * 10),
        labels=np.array(["up", "down"]),
        t=rng.normal(size=(n, 5, 4)).astype("f4"),
        t_length=rng.integers(1, 6, n),
    )
    assert carat("prepare", "arrays", tmp_path / "mine.npz", "--out", tmp_path / "mine.h5") == 0
    store = Store(tmp_path / "mine.h5")
    assert (
        store.labels == ("up", "down")
        and dict(store.splits) == {"train": 20, "valid": 10}
        and store.modalities == {"t": 4}
    )


# ---- the process itself


def test_help_does_not_wait_for_torch():
    code = "import sys; from carat import cli; cli.commands(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_reader_that_leaves_is_no_fault():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "carat.cli", "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert done.returncode == 141 and done.stderr == ""


def test_ctrl_c_leaves_whole_files(folder, tmp_path):
    p = Command(
        "train",
        folder / "twin.h5",
        "--out",
        tmp_path / "run",
        "--epochs",
        100000,
        "--quiet",
        *SMALL,
    )
    try:
        end = time.time() + 60
        while not (tmp_path / "run/history.jsonl").exists():
            assert p.poll() is None and time.time() < end, p.communicate(timeout=30)
            time.sleep(0.05)
        p.send_signal(signal.SIGINT)
        said = p.communicate(timeout=30)
    finally:
        if p.poll() is None:
            p.kill()
    assert p.returncode == 130 and "Traceback" not in said and "--resume" in said
    assert said.count("stopped") == 1, said
    left = {q.name for q in (tmp_path / "run").iterdir()}
    assert left == {
        "config.json",
        "history.jsonl",
        "best.safetensors",
        "tensorboard",
        "checkpoint.pt",
    }  # no metrics.json, nothing temporary
    for line in (tmp_path / "run/history.jsonl").read_text().splitlines():
        json.loads(line)
    from safetensors.torch import load_file

    assert load_file(tmp_path / "run/best.safetensors")
    from carat.core import CaratError
    from carat.train import load_run

    with pytest.raises(CaratError, match="metrics.json missing"):
        load_run(tmp_path / "run")


def test_check_says_that_clips_have_no_labels(tmp_path, capsys):
    with StoreWriter(tmp_path / "clips.h5", "clips", [], {"t": 3}) as w:
        w.add("clips", "a", None, {"t": np.ones((2, 3))})
    assert carat("check", tmp_path / "clips.h5") == 0
    said = capsys.readouterr().out
    assert "clips: 1 samples" in said and "no labels" in said


def test_prepare_arrays_says_what_it_took_and_what_is_odd(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(6, 3))
    x[4, 1] = 1e9
    given = {"face": x, "speaker": np.arange(6), "y": np.eye(6, 2), "labels": ["joy", "awe"]}
    np.savez(tmp_path / "mine.npz", split=["Train"] * 4 + ["Val"] * 2, **given)
    assert carat("prepare", "arrays", tmp_path / "mine.npz", "--out", tmp_path / "s.h5") == 0
    said = capsys.readouterr().out
    assert "'face': features, (N, 3) float64, one step per sample" in said
    assert "'speaker': numbers, one per sample; kept with the samples" in said
    assert said.count("modality 'face', split 'valid': 1 value beyond 1e+06") == 1
    assert carat("check", tmp_path / "s.h5") == 0
    assert "modality 'face', split 'valid': 1 value beyond 1e+06" in capsys.readouterr().out
    soft = {**given, "y": np.full((6, 2), 0.3)}
    np.savez(tmp_path / "soft.npz", split=["train"] * 6, **soft)
    command = ["prepare", "arrays", tmp_path / "soft.npz", "--out", tmp_path / "soft.h5"]
    assert carat(*command) == 2
    assert "--positive-above" in capsys.readouterr().err
    assert carat(*command, "--positive-above", 0.2) == 0
