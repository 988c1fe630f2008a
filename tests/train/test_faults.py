"Damaged and edited run folders, two writers, stopped and replaced runs: one sentence, or the same."

import json
import os
import pickle
import shutil
import signal
import time
import zipfile
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import pytest
import torch
from commands import Command
from faults import damaged
from hostile import Call

from carat import system
from carat.core import CaratError, Settings
from carat.data.store import Store
from carat.data.twins.mosei import write_twin
from carat.system import Network, Scores
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


@pytest.fixture(scope="module")
def stopped_run(folder):
    stopped(Store(folder / "twin.h5"), folder / "stopped")
    return folder / "stopped"


@pytest.fixture
def half(folder, stopped_run, tmp_path):
    "The store, and a copy of the folder of a run on it that was stopped in its second epoch."
    return Store(folder / "twin.h5"), shutil.copytree(stopped_run, tmp_path / "half")


@pytest.fixture(scope="module")
def straight(folder):
    "The same three epochs without a stop."
    return train(Store(folder / "twin.h5"), how=dict(epochs=3))


def sealed_anew(run):
    "Give the files of a run the checksums that they have now, as an attacker would."
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["files"] = {n: sha256((run / n).read_bytes()).hexdigest() for n in RUN_FILES[:-1]}
    del metrics["seal"]
    text = json.dumps(metrics) + "\n"
    metrics["seal"] = sha256(text.encode()).hexdigest()
    (run / "metrics.json").write_text(json.dumps(metrics))


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


@pytest.mark.slow
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
    moments = c["optimizer"]["state"][0]
    right = moments["exp_avg"]

    def refused(words):
        torch.save(c, path)
        with pytest.raises(CaratError, match=f"damaged.*{words}"):
            train(store, tmp_path / "run", how=dict(epochs=3), resume=True)

    for shape in ((1,), (3,), (10**6,), (right.numel(),)):
        moments["exp_avg"] = torch.zeros(shape)
        refused("another shape")
    for other in (torch.zeros(1).expand(right.shape), torch.zeros(right.shape).to_sparse()):
        moments["exp_avg"] = other
        refused("another layout in memory")
    moments["exp_avg"] = right.long()
    refused("no float")
    del moments["exp_avg"]
    refused("other moments")


EDITS = {  # of a checkpoint: values in place of its own, or a function that changes it
    "epoch 99": dict(epoch=99),
    "epoch 1": dict(epoch=1),
    "epoch as text": dict(epoch="1"),
    "epoch True": dict(epoch=True),
    "steps -1": dict(steps=-1),
    "steps 10**9": dict(steps=10**9, names=["loss"], sums=torch.zeros(2)),
    "steps 1.5": dict(steps=1.5),
    "sums of another size": dict(steps=1, sums=torch.zeros(5)),
    "sums of no step": dict(steps=0, names=["loss"], sums=torch.zeros(2)),
    "sums of other terms": dict(steps=1, names=["a"], sums=torch.zeros(2)),
    "sums None": dict(steps=1, names=["loss"], sums=None),
    "names None": dict(steps=1, names=None, sums=torch.zeros(1)),
    "history []": dict(history="[]"),
    "history {}": dict(history="{}"),
    "history of numbers": dict(history="[1]"),
    "history of nothing": dict(history="[{}]"),
    "history None": dict(history=None),
    "history nested": dict(history="[" * 100_000),
    "metrics {}": dict(metrics="{}"),
    "metrics of another run": dict(metrics='{"a": 1}'),
    "metrics of text": dict(metrics='{"valid": {"f1": "x"}}'),
    "metrics None": dict(metrics=None),
    "random None": dict(random=None),
    "random {}": dict(random={}),
    "random of numbers": dict(random=[[5]]),
    "random of another length": dict(random=[[torch.zeros(3, dtype=torch.uint8)]]),
    "optimizer 5": dict(optimizer=5),
    "optimizer without groups": dict(optimizer={"state": {}, "param_groups": []}),
    "optimizer without state": lambda c: c["optimizer"].update(state={}),
    "optimizer with half a state": lambda c: c["optimizer"]["state"].pop(3),
    "model {}": dict(model={}),
    "model 5": dict(model=5),
    "best None": dict(best=None),
    "best {}": dict(best={}),
    "nothing": lambda c: c.clear(),
}


def change_checkpoint(path, edit):
    c = torch.load(path, weights_only=True)
    if callable(edit):
        edit(c)
    else:
        c.update(edit)
    torch.save(c, path)


@pytest.mark.parametrize("edit", EDITS)
def test_edited_checkpoints_are_refused(edit, half):
    store, run = half
    change_checkpoint(run / "checkpoint.pt", EDITS[edit])
    with pytest.raises(CaratError, match="checkpoint.pt.*damaged"):
        train(store, run, how=dict(epochs=3), resume=True)


HARMLESS = {
    "random states of another number of processes": dict(random=[]),
    "options of the optimiser": lambda c: c["optimizer"]["param_groups"][0].update(lr="x", betas=5),
    "moments in double precision": lambda c: c["optimizer"]["state"][0].update(
        exp_avg=c["optimizer"]["state"][0]["exp_avg"].double()
    ),
}


@pytest.mark.parametrize("edit", HARMLESS)
def test_edits_of_a_checkpoint_that_change_nothing(edit, half, straight):
    "The optimiser's options are those of the configuration, whatever the file says."
    store, run = half
    change_checkpoint(run / "checkpoint.pt", HARMLESS[edit])
    there = train(store, run, how=dict(epochs=3), resume=True).model.state_dict()
    if "random" not in edit:
        right = straight.model.state_dict()
        assert all(torch.equal(v, right[k]) for k, v in there.items())


@pytest.mark.parametrize("text", ["5", "{}", "NaN", "null", "[" * 100_000, '{"model": 5}'])
def test_a_damaged_configuration_is_not_resumed(text, half):
    store, run = half
    (run / "config.json").write_text(text)
    with pytest.raises(CaratError, match="config.json cannot be read"):
        train(store, run, how=dict(epochs=3), resume=True)


def test_weights_of_another_model_beside_a_checkpoint_are_not_used(half, straight, tmp_path):
    store, run = half
    train(store, tmp_path / "other", model=dict(d=24))
    shutil.copy(tmp_path / "other/best.safetensors", run)
    done = train(store, run, how=dict(epochs=3), resume=True)
    assert done.metrics["valid"] == straight.metrics["valid"]
    assert load_run(run, "cpu").metrics["valid"] == done.metrics["valid"]


def test_a_compressed_checkpoint_is_not_unpacked(half):
    "1 MB that would become 1 GB."
    store, run = half
    with zipfile.ZipFile(run / "checkpoint.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 26))
    with pytest.raises(CaratError, match="damaged.*compressed"):
        train(store, run, how=dict(epochs=3), resume=True)


@pytest.mark.parametrize("form", ["pickle", "torch", "old torch"])
@pytest.mark.parametrize("name", ["checkpoint.pt", "best.safetensors"])
def test_no_file_runs_code(name, form, half, copy, tmp_path):
    store, run = half
    run = run if name == "checkpoint.pt" else copy
    trap = Call(os.mkdir, str(tmp_path / "executed"))
    if form == "pickle":
        (run / name).write_bytes(pickle.dumps(trap))
    else:
        torch.save({"a": trap}, run / name, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(CaratError, match="damaged"):
        if name == "checkpoint.pt":
            train(store, run, how=dict(epochs=3), resume=True)
        else:
            sealed_anew(run)
            load_run(run, "cpu")
    assert not (tmp_path / "executed").exists()


class Spare(Network):
    "A network with a parameter that nothing uses."

    @dataclass(frozen=True)
    class Config(Settings):
        modalities: dict = field(default_factory=dict)
        labels: tuple = ()

    def __init__(self, config):
        super().__init__(config)
        self.spare = torch.nn.Parameter(torch.zeros(3))
        self.head = torch.nn.Linear(300, len(config.labels))

    def losses(self, batch):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            self.head(batch.x["t"].mean(1)), batch.y
        )
        return {"loss": loss}

    def predict(self, batch):
        return Scores(self.head(batch.x["t"].mean(1)).sigmoid())


@pytest.mark.parametrize("how", [{}, dict(optimizer="sgd"), dict(optimizer="sgd", betas=(0, 0))])
def test_a_network_with_an_unused_parameter_can_be_resumed(how, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(system._REGISTERED, "spare", Spare)
    store, config = Store(folder / "twin.h5"), TrainConfig(**{**QUICK, **how, "lr": 0.1})

    def go(**options):
        return fit(make_model("spare", store), store, config, progress=False, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Spare, "losses", interrupted(Spare.losses, at=2))
        go(out=tmp_path / "run", checkpoint=0)
    again = go(out=tmp_path / "run", resume=True).model.state_dict()
    for k, v in go().model.state_dict().items():
        assert torch.equal(v, again[k]), k


def interrupted(losses, at):
    calls = []

    def counted(model, batch):
        if model.training:
            calls.append(1)
        if len(calls) == at:
            signal.raise_signal(signal.SIGINT)
        return losses(model, batch)

    return counted


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


TOO_LARGE = dict(layers=[10**6] * 3), dict(d=60_000, ff=60_000), dict(queue=10**12), dict(d_z=9)


@pytest.mark.parametrize("sizes", TOO_LARGE, ids=lambda v: ", ".join(v))
def test_sizes_are_compared_before_anything_is_built(sizes, copy, monkeypatch):
    "Also where the checksums are right."
    rewrite(copy / "config.json", lambda c: c["model"]["config"].update(sizes))
    sealed_anew(copy)
    built = []
    real = torch.nn.Module.register_parameter
    monkeypatch.setattr(
        torch.nn.Module,
        "register_parameter",
        lambda module, name, p: (built.append(p), real(module, name, p)),
    )
    with pytest.raises(CaratError, match="do not belong to the model in config.json"):
        load_run(copy, "cpu")
    assert all(p is None or p.device.type == "meta" for p in built) and len(built) < 10_000


@pytest.mark.parametrize("files", [None, [], {}, {"config.json": 5}])
def test_checksums_of_other_files_are_refused(files, copy):
    sealed_anew(copy)
    metrics = json.loads((copy / "metrics.json").read_text())
    del metrics["seal"]
    text = json.dumps({**metrics, "files": files}) + "\n"
    sealed = {**json.loads(text), "seal": sha256(text.encode()).hexdigest()}
    (copy / "metrics.json").write_text(json.dumps(sealed))
    with pytest.raises(CaratError, match="damaged"):
        load_run(copy, "cpu")


@pytest.mark.parametrize("version", ["2", True, 2.0, None])
def test_a_format_that_is_no_number_is_refused(version, copy):
    rewrite(copy / "config.json", lambda c: c.update(format=version))
    with pytest.raises(CaratError, match="config.json.*is damaged"):
        load_run(copy, "cpu")


def test_another_order_of_modalities_is_not_resumed(half):
    "The order is part of the model, also where all widths are the same."
    store, run = half
    with pytest.raises(CaratError, match="another order of modalities"):
        order = {m: store.modalities[m] for m in "avt"}
        train(store, run, model=dict(modalities=order), how=dict(epochs=3), resume=True)
    sort_keys(run / "config.json")
    with pytest.raises(CaratError, match="another order of modalities"):
        train(store, run, how=dict(epochs=3), resume=True)


def test_a_sorted_configuration_is_refused(copy):
    sort_keys(copy / "config.json")
    with pytest.raises(CaratError, match="config.json is damaged or was replaced"):
        load_run(copy, "cpu")
    sealed_anew(copy)  # the order of modalities is kept as a list, too
    with pytest.raises(CaratError, match="in another order"):
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


@pytest.mark.parametrize("at", [3, 4, 5, 6])
def test_a_run_killed_while_it_writes_goes_on(at, folder, tmp_path):
    "kill -9 after a file is written and before it has its name; a checkpoint after every step."
    store, run = Store(folder / "twin.h5"), tmp_path / "run"
    child = os.fork()
    if not child:
        put, calls = os.replace, []

        def replace(*names):
            calls.append(names)
            if len(calls) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            put(*names)

        os.replace = replace
        train(store, run, how=dict(epochs=3), checkpoint=0)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len(list(run.glob(".*"))) == 1
    again, whole = (
        train(store, run, how=dict(epochs=3), resume=True),
        train(store, how=dict(epochs=3)),
    )
    assert not list(run.glob(".*")) and again.metrics["valid"] == whole.metrics["valid"]
    for k, v in whole.model.state_dict().items():
        assert torch.equal(v, again.model.state_dict()[k]), k


@pytest.mark.slow
@pytest.mark.parametrize("how", ["a polite kill of the parent", "Ctrl-C in the terminal"])
def test_all_seeds_stop_and_save(how, folder, tmp_path):
    "SIGTERM to the first process only, or SIGINT to all: the workers save and end, in one line."
    small = [f"--model.{k.replace('_', '-')} {v}" for k, v in SMALL.items() if k != "layers"]
    line = f"train {folder}/twin.h5 --out {tmp_path}/many --seeds 1 2 --jobs 2 --epochs 100000"
    line += f" --batch-size 32 --device cpu --quiet --model.layers 1 1 1 {' '.join(small)}"
    parent = Command(*line.split())
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
        said = parent.communicate(timeout=60)  # ends once no worker holds the pipe any more
    finally:
        parent.kill()
    assert parent.returncode == 130 and "Traceback" not in said, said[-2000:]
    assert said.count("stopped") == 1 and "--resume" in said, said
    assert all((f.parent / "checkpoint.pt").exists() for f in files)
