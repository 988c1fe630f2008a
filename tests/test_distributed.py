"""Several processes and several runs, by the command line: torchrun, resuming with another number
of processes, many seeds."""

import json
import signal
import subprocess
import sys

import pytest
import torch
from commands import Command

from carat import cli
from carat.train import load_run

TINY = [
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
    "--model.dropout",
    "0",
    "--device",
    "cpu",
    "--batch-size",
    "32",
    "--lr",
    "1e-3",
]


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    path = tmp_path_factory.mktemp("ranks") / "twin.h5"
    assert (
        cli.main(
            [
                "prepare",
                "twin",
                "--out",
                str(path),
                "--size",
                "160",
                "--seed",
                "3",
                "--missing",
                "0.2",
            ]
        )
        == 0
    )
    return path


def by_torchrun(script, *commands):
    "What two processes say of command after command, when all have ended well."
    lines = [f"assert main({list(map(str, argv))}) == 0" for argv in commands]
    script.write_text("\n".join(["from carat.cli import main", *lines]))
    how = "-m torch.distributed.run --standalone --nproc-per-node=2".split()
    done = subprocess.run(
        [sys.executable, *how, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


def story(run):
    return [
        [
            r["epoch"],
            r["steps"],
            *r["losses"].values(),
            r["grad_norm"],
            *(v for v in r["valid"].values() if isinstance(v, float)),
        ]
        for r in run.history
    ]


def same(a, b, tolerance=1e-4):
    torch.testing.assert_close(
        torch.tensor(story(a), dtype=torch.float64),
        torch.tensor(story(b), dtype=torch.float64),
        rtol=tolerance,
        atol=tolerance,
    )
    theirs = b.model.state_dict()
    for k, v in a.model.state_dict().items():
        close(v, theirs[k], k)


def close(a, b, name):
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=lambda m: f"{name}: {m}")


def stopped_in_its_fifth_step(twin, out):
    "A run of one process."
    from carat import train as T
    from carat.data.store import Store

    store, calls = Store(twin), []
    config = T.TrainConfig.preset("carat", epochs=3, batch_size=32, lr=1e-3, device="cpu")
    model = T.make_model(
        "carat", store, layers=(1, 1, 1), d=16, d_z=8, d_h=8, heads=2, ff=16, queue=256, dropout=0.0
    )
    losses = model.losses

    def counted(batch):
        calls.append(1)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        return losses(batch)

    model.losses = counted
    with pytest.raises(KeyboardInterrupt):
        T.fit(model, store, config, out=out, progress=False)


@pytest.mark.slow
def test_two_processes_follow_one_also_across_a_stop(twin, tmp_path):
    """The last batch of an epoch has fewer samples; of two processes one writes; what one process
    began, two may end."""
    how = "--epochs", 3, *TINY
    one = Command("train", twin, "--out", tmp_path / "one", *how)
    stopped_in_its_fifth_step(twin, tmp_path / "half")
    said = by_torchrun(
        tmp_path / "both.py",
        ("train", twin, "--out", tmp_path / "two", *how),
        ("train", twin, "--out", tmp_path / "half", *how, "--resume"),
    )
    assert said.count("best epoch") == 2 and "Traceback" not in said, said[-2000:]
    assert "stopped on 1 process(es), resumed on 2" in said, said[-2000:]
    said = one.communicate(timeout=300)
    assert said.count("best epoch") == 1 and "Traceback" not in said, said[-2000:]
    whole = load_run(tmp_path / "one", "cpu")
    same(load_run(tmp_path / "two", "cpu"), whole)
    assert {q.name for q in (tmp_path / "two").iterdir()} == {
        q.name for q in (tmp_path / "one").iterdir()
    }
    half = load_run(tmp_path / "half", "cpu")
    # other draws of the shuffle after the stop, so only what does not depend on them
    for run in (half, whole):
        assert [r["steps"] for r in run.history] == [4, 4, 4]
    first = [list(r.history[0]["losses"].values()) for r in (half, whole)]
    assert first[0] == first[1]


def test_seeds_are_not_for_torchrun(twin, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert (
        cli.main(["train", str(twin), "--out", str(tmp_path / "many"), "--seeds", "1", "2", *TINY])
        == 2
    )
    assert "torchrun" in capsys.readouterr().err and not (tmp_path / "many").exists()


@pytest.mark.slow
def test_many_seeds(twin, tmp_path, capsys):
    assert (
        cli.main(
            [
                "train",
                str(twin),
                "--out",
                str(tmp_path / "many"),
                "--seeds",
                "3",
                "1",
                "--jobs",
                "2",
                "--epochs",
                "1",
                *TINY,
            ]
        )
        == 0
    )
    assert "2 seeds" in capsys.readouterr().out
    summary = json.loads((tmp_path / "many/seeds.json").read_text())
    runs = {seed: load_run(tmp_path / f"many/seed-{seed}", "cpu") for seed in (1, 3)}
    assert summary["seeds"] == [3, 1] and summary["valid"]["f1"]["mean"] == pytest.approx(
        sum(r.metrics["valid"]["f1"] for r in runs.values()) / 2
    )
    assert runs[1].training.seed == 1 and story(runs[1]) != story(runs[3])
    assert (
        cli.main(
            [
                "train",
                str(twin),
                "--out",
                str(tmp_path / "alone"),
                "--seed",
                "3",
                "--epochs",
                "1",
                "--quiet",
                *TINY,
            ]
        )
        == 0
    )
    same(
        load_run(tmp_path / "alone", "cpu"), runs[3], 1e-6
    )  # a seed gives the same run among others and alone

    assert (
        cli.main(
            [
                "train",
                str(twin),
                "--out",
                str(tmp_path / "many"),
                "--seeds",
                "3",
                "1",
                "--epochs",
                "1",
                *TINY,
            ]
        )
        == 2
    )  # nothing is overwritten unasked
    assert "--overwrite" in capsys.readouterr().err
    before = (tmp_path / "many/seed-1/best.safetensors").stat().st_mtime_ns
    assert (
        cli.main(
            [
                "train",
                str(twin),
                "--out",
                str(tmp_path / "many"),
                "--seeds",
                "1",
                "2",
                "--resume",
                "--epochs",
                "1",
                "--quiet",
                *TINY,
            ]
        )
        == 0
    )
    assert (tmp_path / "many/seed-1/best.safetensors").stat().st_mtime_ns == before and load_run(
        tmp_path / "many/seed-2", "cpu"
    ).training.seed == 2
    assert (
        cli.main(["train", str(twin), "--out", str(tmp_path / "twice"), "--seeds", "1", "1", *TINY])
        == 2
    )
    assert "twice" in capsys.readouterr().err
