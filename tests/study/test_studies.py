"Studies in processes of their own: stopped, killed, resumed, with a worker that dies, by command."

import json
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
from commands import Command, holders, needs_proc

from carat import cli
from carat.study.runner import RunSpec
from carat.study.studies import (
    SCORES,
    StudyRun,
    _Processes,
    find_study,
    load_judged,
    make_stores,
    read_study,
    run_study,
)
from carat.study.tables import from_record, study_table
from carat.system import kinds

STUDY = """
title = "A study for tests"
seeds = [1]
reference = "carat"

[stores.tiny]
twin = {{ size = 120, strength = 8, seed = 0 }}

[rows.carat]
label = "tiny CARAT"
kind = "{kind}"
model = {{ layers = [1, 1, 1], d = 16, d_z = 8, d_h = 8, heads = 2, ff = 16, queue = 128 }}
training = {{ epochs = {epochs}, batch_size = 32, lr = 2e-3 }}

[rows.br]
label = "BR"
kind = "br"
"""


def declared(folder, epochs, kind="carat"):
    path = folder / "declared.toml"
    path.write_text(STUDY.format(epochs=epochs, kind=kind))
    return path


def started(path, out, *more):
    return Command("study", path, "--out", out, "--device", "cpu", *more)


def epochs_of(out, row, seed):
    "The lines of a run's history so far."
    found = list(out.glob(f"runs/tiny/{row}-*/seed-{seed}/history.jsonl"))
    return found[0].read_text().splitlines() if found else []


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def scores(out):
    "Path of a run within the study -> its scores."
    found = sorted((out / "runs").rglob(SCORES))
    return {str(p.relative_to(out)): load_judged(p).scores for p in found}


PATIENT = """
import pathlib, time
from carat.systems.carat import CARAT

class Patient(CARAT):
    "Takes its time from the fourth epoch on, where a file says so."
    steps = 0

    def losses(self, batch):
        self.steps += 1
        if self.steps > 9 and pathlib.Path("slow").exists():
            time.sleep(1)
        return super().losses(batch)
"""


@pytest.fixture
def patient(tmp_path, monkeypatch):
    "The study of a run that may take its time, and its scores without interruption."
    (tmp_path / "patient.py").write_text(PATIENT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = declared(tmp_path, 8, "patient:Patient")
    runs = run_study(read_study(path), tmp_path / "whole", jobs=0, device="cpu")
    assert not any(r.failed for r in runs), runs
    return path, scores(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_study_goes_on_within_its_runs(number, patient, tmp_path):
    (path, whole), out = patient, tmp_path / "out"
    (tmp_path / "slow").touch()
    process = started(path, out)
    wait_for(lambda: len(epochs_of(out, "carat", 1)) >= 3)
    if number == signal.SIGINT:  # as a terminal does it: to all processes
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    said = process.communicate(timeout=120)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130), said
    run = next(out.glob("runs/tiny/carat-*/seed-1"))
    wait_for((run / "checkpoint.pt").exists)  # a killed study's worker saves by itself
    before = epochs_of(out, "carat", 1)
    assert 3 <= len(before) < 8
    (tmp_path / "slow").unlink()
    process = started(path, out, "--resume")
    said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert epochs_of(out, "carat", 1)[: len(before) - 1] == before[:-1]
    now = scores(out)
    assert now.keys() == whole.keys()
    assert all(np.array_equal(now[k], whole[k]) for k in whole)
    assert "2 of 2 runs finished" in said and "tiny CARAT" in said


@pytest.mark.slow
@needs_proc
def test_a_worker_that_dies_is_one_failed_run(tmp_path):
    path, out = declared(tmp_path, 20), tmp_path / "out"
    process = started(path, out)
    wait_for(lambda: len(epochs_of(out, "carat", 1)) >= 1)
    (run,) = out.glob("runs/tiny/carat-*/seed-1")
    (worker,) = holders(run)
    os.kill(worker, signal.SIGKILL)
    said = process.communicate(timeout=300)
    assert process.returncode == 2, said
    assert "carat on tiny, seed 1: failed: its process ended with status -9" in said
    assert len(scores(out)) == 1


SLOW = """
import pathlib, time
from carat.systems.br import BR

class Slow(BR):
    def fit(self, data, how, log):
        pathlib.Path("began").touch()
        time.sleep(2)
        super().fit(data, how, log)
"""


def test_a_worker_takes_runs_until_it_is_gone_or_one_fails(tmp_path):
    store = make_stores(read_study(declared(tmp_path, 1)), tmp_path / "out")["tiny"]
    spec = RunSpec(str(store), kind="br", training=dict(device="cpu"))
    runs = [StudyRun("br", "tiny", k, spec=replace(spec, out=tmp_path / f"{k}")) for k in range(4)]
    broken = StudyRun("br", "tiny", 9, spec=RunSpec("no store", tmp_path / "9", "br"))
    here, seen = _Processes(1, 1), []

    def ended(run):
        here.start(run)
        seen.append(here.active[0][1].process)
        assert here.ended(60) == [run] and here.active == []
        return run.error

    assert ended(runs[0]) is None and ended(runs[1]) is None  # one process
    assert seen[0] is seen[1] and all(r.finished for r in runs[:2])
    assert "no store" in ended(broken)
    assert ended(runs[2]) is None and seen[3] is not seen[2]  # a new one
    seen[3].kill()
    seen[3].join()
    here.start(runs[3])  # in another new one, which is killed
    here.active[0][1].process.kill()
    assert here.ended(60) == [runs[3]] and here.active == []
    assert runs[3].error == "its process ended with status -9"
    here.close()
    assert not any(process.is_alive() for process in seen)


def test_a_run_that_hears_no_signal_ends_before_the_study(tmp_path, monkeypatch):
    (tmp_path / "slow.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    store = make_stores(read_study(declared(tmp_path, 1)), tmp_path / "out")["tiny"]
    spec = RunSpec(str(store), tmp_path / "run", "slow:Slow", training=dict(device="cpu"))
    here = _Processes(1, 1)
    here.start(StudyRun("slow", "tiny", 1, spec=spec))
    wait_for((tmp_path / "began").exists)
    process = here.active[0][1].process
    here.stop()
    assert not process.is_alive()
    assert len(list((tmp_path / "run").glob(".*"))) <= 1  # its lock


def test_the_commands(tmp_path, capsys):
    path, out = declared(tmp_path, 1), tmp_path / "out"
    assert cli.main(["study", str(path), "--out", str(out), "--jobs", "0"]) == 0
    said = capsys.readouterr().out
    assert "2 runs (rows 2, stores 1, seeds 1)" in said and "tiny CARAT" in said
    assert cli.main(["study", str(path), "--out", str(out)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert cli.main(["table", str(out), "--format", "markdown"]) == 0
    assert "| tiny CARAT |" in capsys.readouterr().out
    assert cli.main(["table", str(out), "--format", "latex", "--out", str(tmp_path / "t.tex")]) == 0
    assert "\\toprule" in (tmp_path / "t.tex").read_text()
    assert cli.main(["table", str(out), "--out", str(tmp_path / "t.tex")]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert cli.main(["table", str(out), "--format", "png"]) == 2
    assert "--out" in capsys.readouterr().err
    assert cli.main(["table", str(out), "--format", "png", "--out", str(tmp_path / "t.png")]) == 0
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main(["table", str(out), "--format", "json"]) == 0
    kept = from_record(json.loads(capsys.readouterr().out))
    assert cli.main(["table", str(out), "--format", "markdown"]) == 0
    assert capsys.readouterr().out == str(study_table(kept))
    assert cli.main(["table", str(out), "--format", "json", "--store", "tiny"]) == 2
    assert "leave out --store" in capsys.readouterr().err
    assert cli.main(["table", str(out), "--reference", "carat"]) == 0
    assert "against tiny CARAT" in capsys.readouterr().out
    assert cli.main(["table", str(out), "--reference", "nobody"]) == 2
    assert "no row 'nobody'" in capsys.readouterr().err
    assert cli.main(["table", str(out), "--metric", "f2"]) == 2
    assert "f2" in capsys.readouterr().err
    assert cli.main(["table", str(tmp_path)]) == 2
    assert "holds no study" in capsys.readouterr().err


def test_results_move_with_their_folder(tmp_path, capsys):
    "The table needs neither the data nor the place where they were computed."
    path, out = declared(tmp_path, 1), tmp_path / "out"
    assert cli.main(["study", str(path), "--out", str(out), "--jobs", "0", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert cli.main(["table", str(out)]) == 0
    before = capsys.readouterr().out
    for store in (out / "stores").iterdir():
        store.unlink()
    for weights in (out / "runs").rglob("*.safetensors"):
        weights.unlink()
    out.rename(tmp_path / "moved")
    assert cli.main(["table", str(tmp_path / "moved")]) == 0
    assert capsys.readouterr().out == before


def test_words_are_chosen_and_equal_rows_are_recorded(tmp_path, capsys):
    "A candidate need not be a number, and JSON holds a difference without any variance."
    path, out, kept = tmp_path / "words.toml", tmp_path / "out", tmp_path / "kept.json"
    choose = 'choose = { optimizer = ["adam", "adamw"] }'
    again = '[rows.again]\nlabel = "BR, again"\nkind = "br"\n'
    path.write_text(
        choose + STUDY.format(epochs=1, kind="carat").replace('"carat"', '"br"', 1) + again
    )
    assert cli.main(["study", str(path), "--out", str(out), "--jobs", "0"]) == 0
    assert "(optimizer adamw)" in capsys.readouterr().out
    assert cli.main(["table", str(out), "--format", "json", "--out", str(kept)]) == 0
    table = from_record(json.loads(kept.read_text()))
    line = {v.row: v for v in table.lines}
    assert line["carat"].chosen["optimizer"] in str(study_table(table))
    (other,) = line["carat"].tried
    assert {other["optimizer"], line["carat"].chosen["optimizer"]} == {"adam", "adamw"}
    same = line["again"].difference
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_the_packages_own_studies_are_sound():
    folder = find_study("peers_small").parent
    for path in folder.glob("*.toml"):
        study = read_study(path.stem)
        assert study.title and study.rows, path
        assert json.dumps(study.to_dict(), default=vars)
    trained = {row.kind for row in read_study("peers_small").rows.values()}
    brought = {k for k in kinds() if ":" not in k} - {"aligned"}
    assert brought <= trained, "give peers_small a row of the new system"
