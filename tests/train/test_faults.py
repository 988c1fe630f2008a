"Damaged and edited run folders, two writers, stopped and replaced runs: one sentence, or the same."

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from faults import damaged

from carat.core import CaratError
from carat.data.store import Store
from carat.data.twins.mosei import write_twin
from carat.train import TrainConfig, fit, load_run, make_model, predict
from carat.train.run import RUN_FILES, RunFolder

SMALL = dict(layers=(1, 1, 1), d=16, d_z=8, d_h=8, heads=2, ff=16, queue=64)
QUICK = dict(epochs=2, batch_size=32, lr=1e-3, device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "A store, and a finished run on it."
    d = tmp_path_factory.mktemp("faults")
    write_twin(d / "twin.h5", size=90, seed=0)
    train(Store(d / "twin.h5"), d / "run")
    return d


def train(store, out=None, model=None, how=None, **options):
    model = make_model("carat", store, **{**SMALL, **(model or {})})
    config = TrainConfig(**{**QUICK, **(how or {})})
    return fit(model, store, config, out=out, progress=False, **options)


@pytest.fixture
def copy(folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")
    return tmp_path / "run"


def stopped(store, out):
    "A run of three epochs that was stopped in its second."

    def stop(epoch, model, record):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(store, out, how=dict(epochs=3), callbacks=[stop], checkpoint=0)


# damage


@pytest.mark.parametrize("name", RUN_FILES)
def test_no_random_damage_is_accepted(name, folder, copy):
    "120 damages of each file: an error, or the predictions that were."
    store, whole = Store(folder / "twin.h5"), (copy / name).read_bytes()
    right, refused = predict(folder / "run", store).scores, 0
    for i in range(120):
        (copy / name).write_bytes(damaged(whole, i))
        try:
            scores = predict(load_run(copy, "cpu"), store).scores
        except CaratError as e:
            assert str(copy) in str(e)
            refused += 1
        else:
            assert np.array_equal(scores, right), i
    assert refused > 60


def test_no_random_damage_of_a_checkpoint_is_accepted(folder, tmp_path):
    "Resumed from a damaged checkpoint, a run is refused or ends as if nothing had been damaged."
    store = Store(folder / "twin.h5")
    stopped(store, tmp_path / "run")
    whole = (tmp_path / "run/checkpoint.pt").read_bytes()
    shutil.copytree(tmp_path / "run", tmp_path / "kept")
    right, refused = train(store, how=dict(epochs=3)), 0
    for i in range(40):
        (tmp_path / "run/checkpoint.pt").write_bytes(damaged(whole, i))
        try:
            run = train(store, tmp_path / "run", how=dict(epochs=3), resume=True)
        except CaratError as e:
            assert "damaged" in str(e), e
            refused += 1
        else:
            assert run.metrics["valid"] == right.metrics["valid"], i
            shutil.rmtree(tmp_path / "run")
            shutil.copytree(tmp_path / "kept", tmp_path / "run")
    assert refused > 20


def test_moments_of_another_shape_never_reach_the_kernel(folder, tmp_path):
    store = Store(folder / "twin.h5")
    stopped(store, tmp_path / "run")
    path = tmp_path / "run/checkpoint.pt"
    c = torch.load(path, weights_only=True)
    for shape in ((1,), (3,), (10**6,)):
        c["optimizer"]["state"][0]["exp_avg"] = torch.zeros(shape)
        torch.save(c, path)
        with pytest.raises(CaratError, match="damaged.*another shape"):
            train(store, tmp_path / "run", how=dict(epochs=3), resume=True)


EDITS = [
    dict(epoch=99),
    dict(epoch="1"),
    dict(steps=-1),
    dict(steps=10**9, names=["loss"], sums=torch.zeros(5)),
    dict(history="[]"),
    dict(history="{}"),
    dict(metrics="{}"),
    dict(random=[]),
    dict(optimizer={"state": {}, "param_groups": []}),
    dict(optimizer=5),
    dict(model={}),
]


@pytest.mark.parametrize("edit", EDITS, ids=[" ".join(e) for e in EDITS])
def test_edited_checkpoints_are_refused(edit, folder, tmp_path):
    store = Store(folder / "twin.h5")
    stopped(store, tmp_path / "run")
    path = tmp_path / "run/checkpoint.pt"
    torch.save({**torch.load(path, weights_only=True), **edit}, path)
    if edit.get("random") == []:  # as from another number of processes: goes on, and says so
        train(store, tmp_path / "run", how=dict(epochs=3), resume=True)
        return
    with pytest.raises(CaratError, match="damaged"):
        train(store, tmp_path / "run", how=dict(epochs=3), resume=True)


# edits by hand


def rewrite(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def sort_keys(path):
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["model"]["config"].update(modalities=["t", "v", "a"]),
        lambda c: c["model"]["config"].update(modalities={}),
        lambda c: c["model"]["config"].update(heads=0),
        lambda c: c["model"]["config"].update(heads=2.0),
        lambda c: c["model"]["config"].update(layers=[10**6] * 3),
        lambda c: c["model"].update(name=["carat"]),
        lambda c: c["model"].update(name={"a": 1}),
        lambda c: c["training"].update(lr=1e9),
        lambda c: c["data"]["labels"].reverse(),
        lambda c: c.update(model=None),
    ],
)
def test_edited_configurations_are_refused(change, copy):
    rewrite(copy / "config.json", change)
    with pytest.raises(CaratError, match="config.json|no model is called"):
        load_run(copy, "cpu")


def test_a_sorted_configuration_is_refused(copy):
    sort_keys(copy / "config.json")
    with pytest.raises(CaratError, match="config.json is damaged or was replaced"):
        load_run(copy, "cpu")


@pytest.mark.parametrize("text", ["5", "{}", "NaN", "[" * 100_000, "null"])
@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
def test_other_json_is_refused(name, text, copy):
    (copy / name).write_text(text)
    with pytest.raises(CaratError, match="damaged"):
        load_run(copy, "cpu")


@pytest.mark.parametrize("value", ["0.5", None, [], {}, float("nan"), 5, -1, 10**400])
def test_thresholds_that_cannot_be(value, copy):
    rewrite(copy / "metrics.json", lambda m: m.update(threshold=value))
    with pytest.raises(CaratError, match="metrics.json"):
        load_run(copy, "cpu")


# options that cannot be


@pytest.mark.parametrize(
    "model, how",
    [
        (dict(heads=0), {}),
        (dict(heads=-2), {}),
        (dict(d=0), {}),
        (dict(d_z=0), {}),
        (dict(ff=-1), {}),
        (dict(layers=(-1, 1, 1)), {}),
        (dict(tau=float("nan")), {}),
        (dict(gamma_s=float("nan")), {}),
        ({}, dict(lr=float("inf"))),
        ({}, dict(lr="x")),
    ],
)
@pytest.mark.parametrize("kind", ["carat", "aligned"])
def test_impossible_options_cost_nothing(kind, model, how, folder, copy):
    store, before = Store(folder / "twin.h5"), (copy / "metrics.json").read_bytes()
    with pytest.raises(CaratError):
        system = make_model(kind, store, **{**SMALL, **model})
        config = TrainConfig(**{**QUICK, **how})
        fit(system, store, config, out=copy, overwrite=True, progress=False)
    assert (copy / "metrics.json").read_bytes() == before and load_run(copy, "cpu")


def test_numbers_as_text_are_numbers():
    assert TrainConfig(lr="1e-3").lr == 1e-3


# nothing lost, nothing mixed


def test_an_old_run_stays_until_the_new_one_has_an_epoch(folder, copy):
    store, before = Store(folder / "twin.h5"), predict(copy, Store(folder / "twin.h5")).scores

    def stop(*of):
        raise KeyboardInterrupt

    model = make_model("carat", store, **SMALL)
    losses = model.losses
    model.losses = lambda batch: stop() if model.training else losses(batch)
    with pytest.raises(KeyboardInterrupt):
        fit(model, store, TrainConfig(**QUICK), out=copy, overwrite=True, progress=False)
    assert np.array_equal(predict(copy, store).scores, before)


def test_resuming_on_other_data_is_refused(folder, tmp_path):
    "Changed features, changed labels, another store of the same shape."
    shutil.copy(folder / "twin.h5", tmp_path / "twin.h5")
    stopped(Store(tmp_path / "twin.h5"), tmp_path / "run")
    import h5py

    def features(f):
        f["train/v/values"][...] = 3 * f["train/v/values"][...]

    def labels(f):
        f["train/y"][...] = 1 - (f["train/y"][...] > 0)

    for change in (features, labels):
        shutil.copy(folder / "twin.h5", tmp_path / "twin.h5")
        with h5py.File(tmp_path / "twin.h5", "r+") as f:
            change(f)
        with pytest.raises(CaratError, match="on other data"):
            train(Store(tmp_path / "twin.h5"), tmp_path / "run", how=dict(epochs=3), resume=True)
    write_twin(tmp_path / "twin.h5", size=90, seed=1, overwrite=True)
    with pytest.raises(CaratError, match="another|other data"):
        train(Store(tmp_path / "twin.h5"), tmp_path / "run", how=dict(epochs=3), resume=True)


def test_one_process_per_run_folder(folder, tmp_path):
    held = RunFolder(tmp_path / "run")
    with pytest.raises(CaratError, match="another process is training"):
        train(Store(folder / "twin.h5"), tmp_path / "run", overwrite=True)
    held.close()
    train(Store(folder / "twin.h5"), tmp_path / "run", overwrite=True)


def test_half_a_file_of_a_killed_run_is_removed(folder, tmp_path):
    store = Store(folder / "twin.h5")
    stopped(store, tmp_path / "run")
    (tmp_path / "run/.checkpoint.pt.abc").write_bytes(b"half")
    train(store, tmp_path / "run", how=dict(epochs=3), resume=True)
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.parametrize("how", ["a polite kill of the parent", "Ctrl-C in the terminal"])
def test_all_seeds_stop_and_save(how, folder, tmp_path):
    "SIGTERM to the first process only, or SIGINT to all: the workers save and end, in one line."
    small = [f"--model.{k.replace('_', '-')} {v}" for k, v in SMALL.items() if k != "layers"]
    line = f"train {folder}/twin.h5 --out {tmp_path}/many --seeds 1 2 --jobs 2 --epochs 100000"
    line += f" --batch-size 32 --device cpu --quiet --model.layers 1 1 1 {' '.join(small)}"
    parent = subprocess.Popen(
        [sys.executable, "-m", "carat.cli", *line.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    files = [tmp_path / f"many/seed-{s}/history.jsonl" for s in (1, 2)]
    try:
        end = time.time() + 120
        while not all(f.exists() for f in files):
            assert parent.poll() is None and time.time() < end
            time.sleep(0.1)
        if "kill" in how:
            parent.send_signal(signal.SIGTERM)
        else:
            os.killpg(parent.pid, signal.SIGINT)
        said, _ = parent.communicate(timeout=60)  # ends once no worker holds the pipe any more
    finally:
        parent.kill()
    assert parent.returncode == 130 and "Traceback" not in said, said[-2000:]
    assert said.count("stopped") == 1 and "--resume" in said, said
    assert all((f.parent / "checkpoint.pt").exists() for f in files)
