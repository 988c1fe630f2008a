"The training loop with a model that it has never heard of, and with CARAT."

import csv
import json
import re
import signal
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from carat import system
from carat import train as T
from carat.core import CaratError, Settings, write_whole
from carat.data.store import Store
from carat.data.twins.mosei import write_twin
from carat.system import Network, Scores
from carat.train import (
    TrainConfig,
    evaluate,
    fit,
    load_run,
    loop,
    make_model,
    make_optimizer,
    predict,
    record_result,
)

torch.set_num_threads(1)


@dataclass(frozen=True)
class BagConfig(Settings):
    modalities: dict = field(default_factory=dict)
    labels: tuple = ()
    dropout: float = 0.1

    def __post_init__(self):
        object.__setattr__(self, "labels", tuple(self.labels))


class Bag(Network):
    "Logistic regression on the mean of every modality, with a buffer that counts the steps."

    Config = BagConfig

    def __init__(self, config):
        super().__init__(config)
        self.head = torch.nn.Linear(sum(config.modalities.values()), len(config.labels))
        self.drop = torch.nn.Dropout(config.dropout)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.seen = []

    def forward(self, batch):
        means = [
            batch.x[m].sum(1) / batch.mask[m].sum(1, keepdim=True).clamp(min=1)
            for m in self.config.modalities
        ]
        return self.head(self.drop(torch.cat(means, 1)))

    def losses(self, batch):
        self.steps += 1
        self.seen.append(batch.id)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(self(batch), batch.y)
        return {"loss": loss, "bce": loss}

    def predict(self, batch):
        scores = self(batch).sigmoid()
        return Scores(scores, {"from": torch.zeros(scores.shape, dtype=torch.int64)})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(write_twin(tmp_path_factory.mktemp("train") / "twin.h5", size=110, seed=0))


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(system._REGISTERED, "bag", Bag)


QUICK = TrainConfig(epochs=3, batch_size=32, lr=1e-2, device="cpu")
SMALL = dict(layers=(1, 1, 1), d=16, d_z=8, d_h=8, heads=2, ff=16, queue=128)


def train(store, config=QUICK, name="bag", options=None, **how):
    model = make_model(name, store, seed=config.seed, **(options or {}))
    return fit(model, store, config, progress=False, **how)


def story(run):
    return [{k: v for k, v in r.items() if k != "seconds"} for r in run.history]


@pytest.mark.parametrize("name, options", [("bag", {}), ("carat", SMALL)])
def test_one_seed_one_history(store, name, options):
    config = replace(QUICK, epochs=2)
    first = train(store, config, name, options)
    torch.manual_seed(12345)  # what happened before does not matter
    torch.rand(7)
    state = torch.get_rng_state()
    second = train(store, config, name, options)
    assert torch.equal(state, torch.get_rng_state())  # nor does training change what happens after
    assert story(first) == story(second)
    for k, v in first.model.state_dict().items():
        assert torch.equal(v, second.model.state_dict()[k]), k
    assert story(train(store, replace(config, seed=2), name, options)) != story(first)


def test_every_sample_once_an_epoch(store):
    run = train(store, replace(QUICK, batch_size=48))
    n = len(store["train"])
    assert run.history[0]["steps"] == -(-n // 48)
    ids = [i for batch in run.model.seen for i in batch]
    for e in range(3):
        assert sorted(ids[e * n : (e + 1) * n]) == sorted(store["train"].id)
    assert ids[:n] != ids[n : 2 * n]
    run = train(store, replace(QUICK, batch_size=48, drop_last=True))
    assert run.history[0]["steps"] == n // 48 and {len(b) for b in run.model.seen} == {48}


def test_evaluation_covers_every_sample_in_order(store):
    run = train(store)
    whole = predict(run, store, "test")
    assert whole.id == [str(i) for i in store["test"].id]
    for size in (1, 7, 1000):
        run.training.eval_batch_size = size
        torch.testing.assert_close(
            torch.tensor(predict(run, store, "test").scores),
            torch.tensor(whole.scores),
            atol=1e-6,
            rtol=0,
        )
        assert evaluate(run, store, "valid")["samples"] == len(store["valid"])


def test_the_best_epoch_is_kept_and_a_tie_keeps_the_earlier(store, tmp_path):
    run = train(store, replace(QUICK, epochs=5), out=tmp_path / "r")
    f1 = [r["valid"]["f1"] for r in run.history]
    assert run.metrics["best_epoch"] == 1 + int(np.argmax(f1))
    assert evaluate(run, store, "valid") == run.metrics["valid"]
    assert (
        int(run.model.steps) == run.metrics["best_epoch"] * run.history[0]["steps"]
    )  # buffers are of that epoch, too
    still = train(store, replace(QUICK, lr=0.0))  # nothing moves: every epoch ties
    assert still.metrics["best_epoch"] == 1 and [r["best"] for r in still.history] == [
        True,
        False,
        False,
    ]


def test_a_run_comes_back_as_it_was(store, tmp_path):
    for name, options in (("bag", {}), ("carat", SMALL)):
        run = train(store, replace(QUICK, epochs=1), name, options, out=tmp_path / name)
        again = load_run(tmp_path / name, device="cpu")
        assert (
            again.history == run.history
            and again.metrics == run.metrics
            and again.training == run.training
        )
        assert again.model.config == run.model.config and not again.model.training
        for k, v in run.model.state_dict().items():
            assert torch.equal(v, again.model.state_dict()[k]), k
        a, b = predict(run, store, "test"), predict(tmp_path / name, store, "test")
        assert np.array_equal(a.scores, b.scores) and np.array_equal(a.leaned, b.leaned)


def test_python_in_three_lines(store, tmp_path):
    model = make_model("carat", store, **SMALL)
    run = fit(model, store, replace(QUICK, epochs=1), out=tmp_path / "run", progress=False)
    assert 0 <= evaluate(run, store, "test")["f1"] <= 1


def test_reference_protocol_decays_what_the_published_code_decays(store):
    model = make_model("carat", store, preset="reference", **SMALL)
    for config, also in (
        (TrainConfig.preset("carat", "reference"), True),
        (TrainConfig(optimizer="bertadam"), False),
    ):
        groups = {
            g["decayed"]: {id(p) for p in g["params"]}
            for g in make_optimizer(model, config).param_groups
        }
        for name, p in model.named_parameters():
            plain = name.endswith("bias") or "norm" in name
            if (
                name.startswith("encoders.")
                and name.endswith(".norm.weight")
                and name.count(".") == 3
            ):
                plain = not also
            assert id(p) in groups[not plain], name
    run = fit(
        model,
        store,
        TrainConfig.preset("carat", "reference", epochs=1, batch_size=32, device="cpu"),
        progress=False,
    )
    assert run.threshold == 0.25 and run.history[0]["steps"] == len(store["train"]) // 32


def test_bfloat16_follows_float32(store):
    a = train(store, replace(QUICK, epochs=2), "carat", {**SMALL, "dropout": 0.0, "shuffles": ()})
    b = train(
        store,
        replace(QUICK, epochs=2, precision="bfloat16"),
        "carat",
        {**SMALL, "dropout": 0.0, "shuffles": ()},
    )
    assert a.history[0]["losses"] != b.history[0]["losses"]
    for r, s in zip(a.history, b.history, strict=True):
        assert abs(r["losses"]["loss"] / s["losses"]["loss"] - 1) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_compiled_run_follows_the_run_as_written(store, monkeypatch, precision):
    "Traced into one graph and run by torch's own kernels; the last batch of an epoch is smaller."
    compiled, how = torch.compile, replace(QUICK, epochs=2, precision=precision)
    monkeypatch.setattr(
        torch, "compile", lambda f, **k: compiled(f, **k, fullgraph=True, backend="aot_eager")
    )
    two = dict(modalities=("t", "v"), layers=(1, 1))
    options = {**SMALL, **two, "dropout": 0.0, "shuffles": ()}
    a, b = (train(store, replace(how, compile=c), "carat", options) for c in (False, True))
    for r, s in zip(a.history, b.history, strict=True):
        assert abs(r["losses"]["loss"] / s["losses"]["loss"] - 1) < (
            1e-3 if precision == "float32" else 0.02
        )
        assert abs(r["valid"]["f1"] - s["valid"]["f1"]) < 0.05


def test_nothing_is_read_from_the_device_within_an_epoch(store):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):
        reads = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func in (
                torch.ops.aten._local_scalar_dense.default,
                torch.ops.aten.is_nonzero.default,
            ):
                self.reads += 1
            return func(*args, **(kwargs or {}))

    model = make_model("bag", store)
    optimizer = make_optimizer(model, QUICK)
    batches = list(store["train"].batches(32))[:3]
    reads = []
    for k in (1, 3):
        with Watch() as watch:
            T.train_epoch(model, batches[:k], optimizer, QUICK, 0, 10)
        reads.append(watch.reads)
    assert reads[0] == reads[1] <= 3, reads  # the same for 1 step and for 3
    with Watch() as watch:
        torch.ones(()).item()
    assert watch.reads == 1  # the watch does see a read


def stopped(store, out, at, config, name, options, how=signal.SIGINT):
    "A run that is asked to stop in the step of that number, and ends that step first."
    model = make_model(name, store, seed=config.seed, **options)
    losses, calls = model.losses, []

    def counted(batch):
        calls.append(1)
        if len(calls) == at:
            signal.raise_signal(how)
        return losses(batch)

    model.losses = counted
    with pytest.raises(KeyboardInterrupt):
        fit(model, store, config, out=out, progress=False)
    assert len(calls) == at and (out / "checkpoint.pt").is_file()


@pytest.mark.parametrize(
    "name, options, at", [("bag", {}, 2), ("bag", {}, 3), ("bag", {}, 5), ("carat", SMALL, 4)]
)  # an epoch has 3 steps
def test_a_stopped_run_goes_on_as_if_it_had_not_been(store, tmp_path, name, options, at):
    config = replace(QUICK, epochs=3)
    before = signal.getsignal(signal.SIGINT)
    whole = train(store, config, name, options)
    stopped(
        store,
        tmp_path / "run",
        at,
        config,
        name,
        options,
        signal.SIGTERM if at == 5 else signal.SIGINT,
    )
    with pytest.raises(CaratError, match="stopped before its end"):
        load_run(tmp_path / "run")
    again = train(store, config, name, options, out=tmp_path / "run", resume=True)
    assert story(again) == story(whole) and again.metrics["valid"] == whole.metrics["valid"]
    for k, v in whole.model.state_dict().items():
        assert torch.equal(v, again.model.state_dict()[k]), k
    assert (
        story(load_run(tmp_path / "run")) == story(whole)
        and not (tmp_path / "run/checkpoint.pt").exists()
    )
    assert signal.getsignal(signal.SIGINT) == before


def test_checkpoints_come_by_the_clock(store, tmp_path, monkeypatch):
    kept, save = [], loop.save_checkpoint
    monkeypatch.setattr(
        loop,
        "save_checkpoint",
        lambda *a, **where: (kept.append((where["epoch"], where["steps"])), save(*a, **where)),
    )
    train(store, replace(QUICK, epochs=2), out=tmp_path / "often", checkpoint=0)
    assert kept == [(1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    kept.clear()
    train(store, replace(QUICK, epochs=2), out=tmp_path / "seldom", checkpoint=10)
    assert kept == []


def test_what_cannot_be_resumed(store, tmp_path):
    run, config = tmp_path / "run", replace(QUICK, epochs=2)
    with pytest.raises(CaratError, match="checkpoint.pt"):
        train(store, config, out=run, resume=True)
    stopped(store, run, 4, config, "bag", {})
    with pytest.raises(CaratError, match="training.lr: 0.01, now 0.5"):
        train(store, replace(config, lr=0.5), out=run, resume=True)
    with pytest.raises(CaratError, match="dropout"):
        train(store, config, options=dict(dropout=0.5), out=run, resume=True)
    whole = (run / "checkpoint.pt").read_bytes()
    for damaged in (whole[:100], whole[:-100], b"", b"not a checkpoint" * 50):
        (run / "checkpoint.pt").write_bytes(damaged)
        with pytest.raises(CaratError, match="damaged"):
            train(store, config, out=run, resume=True)
    (run / "checkpoint.pt").write_bytes(whole)
    (run / "best.safetensors").write_bytes(b"")
    with pytest.raises(CaratError, match="damaged"):
        train(store, config, out=run, resume=True)
    train(store, config, out=run, overwrite=True)
    with pytest.raises(CaratError, match="finished"):
        train(store, config, out=run, resume=True)
    with pytest.raises(CaratError, match="give out="):
        train(store, config, resume=True)


def test_model_and_training_come_from_one_preset(store):
    "`make_model` and `fit` without further words, as `carat train` does."
    for name, preset in (
        ("carat", None),
        ("carat", "paper"),
        ("carat", "reference"),
        ("bag", None),
    ):
        model = make_model(name, store, preset=preset, **(SMALL if name == "carat" else {}))
        used = fit(model, store, progress=False, callbacks=[lambda *at: True]).training
        assert used == TrainConfig.preset(type(model), preset), (name, preset)
    first = next(iter(system.system("carat").recipes))
    assert first == "recommended" and make_model("carat", store, **SMALL).preset == first


def test_callbacks(store):
    seen = []
    train(
        store,
        callbacks=[
            lambda epoch, model, record: seen.append((epoch, type(model), record["valid"]["f1"]))
        ],
    )
    assert [s[0] for s in seen] == [1, 2, 3] and seen[0][1] is Bag


def test_what_a_callback_stops_is_a_finished_run(store, tmp_path):
    done = train(store, out=tmp_path / "r", callbacks=[lambda epoch, model, record: epoch == 2])
    assert len(done.history) == 2 and done.metrics["stopped"]["epoch"] == 2
    again = load_run(tmp_path / "r", "cpu")
    assert again.metrics == done.metrics
    scores = (predict(r, store, "test").scores for r in (done, again))
    np.testing.assert_array_equal(*scores)


def test_a_loss_that_is_not_finite(store):
    class Bad(Bag):
        def losses(self, batch):
            return {k: v * float("nan") for k, v in super().losses(batch).items()}

    with pytest.raises(CaratError, match="epoch 1: not finite: loss.*smaller lr"):
        fit(Bad(make_model("bag", store).config), store, QUICK, progress=False)


def test_what_cannot_be_trained(store, tmp_path):
    class Nameless(Bag):
        pass

    with pytest.raises(CaratError, match="has no name"):
        fit(
            Nameless(make_model("bag", store).config),
            store,
            QUICK,
            out=tmp_path / "x",
            progress=False,
        )
    with pytest.raises(CaratError, match="do not fill one batch"):
        train(store, replace(QUICK, batch_size=4096, drop_last=True))
    with pytest.raises(CaratError, match="no model is called"):
        make_model("tailor?", store)
    with pytest.raises(CaratError, match="preset"):
        make_model("bag", store, preset="reference")
    (tmp_path / "file").write_text("")
    with pytest.raises(CaratError, match="is a file"):
        train(store, out=tmp_path / "file")
    assert not (tmp_path / "x").exists()


def test_a_run_folder_cannot_name_code_to_run(store, tmp_path):
    train(store, replace(QUICK, epochs=1), out=tmp_path / "r")
    config = json.loads((tmp_path / "r/config.json").read_text())
    config["model"]["name"] = "os:system"
    (tmp_path / "r/config.json").write_text(json.dumps(config))
    with pytest.raises(CaratError, match="no model is called 'os:system'"):
        load_run(tmp_path / "r")


def test_weights_of_another_model(store, tmp_path):
    train(store, replace(QUICK, epochs=1), "carat", SMALL, out=tmp_path / "a")
    train(store, replace(QUICK, epochs=1), "carat", {**SMALL, "d": 24}, out=tmp_path / "b")
    (tmp_path / "a/best.safetensors").write_bytes((tmp_path / "b/best.safetensors").read_bytes())
    with pytest.raises(CaratError, match="do not belong"):
        load_run(tmp_path / "a")


def test_overwriting_takes_only_the_files_of_a_run(store, tmp_path):
    train(store, replace(QUICK, epochs=1), out=tmp_path / "r")
    (tmp_path / "r/notes.txt").write_text("mine")
    train(store, replace(QUICK, epochs=2), out=tmp_path / "r", overwrite=True)
    assert (tmp_path / "r/notes.txt").read_text() == "mine" and len(
        load_run(tmp_path / "r").history
    ) == 2


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    write_whole(tmp_path / "x", "old")
    monkeypatch.setattr(
        "os.fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OSError):
        write_whole(tmp_path / "x", "new")
    assert (tmp_path / "x").read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["x"]


def test_record_result(store, tmp_path):
    run = train(store, replace(QUICK, epochs=1))
    kept = json.loads(
        record_result(
            run, tmp_path / "results/bag.json", test=evaluate(run, store, "test")
        ).read_text()
    )
    assert {
        "model",
        "training",
        "data",
        "device",
        "seed",
        "versions",
        "history",
        "metrics",
        "test",
    } <= set(kept)
    assert kept["history"][0]["valid"]["f1"] == run.history[0]["valid"]["f1"]


def test_a_finished_run_has_a_page_and_a_table(store, tmp_path):
    run = train(store, replace(QUICK, epochs=2), out=tmp_path / "r")
    with open(tmp_path / "r/history.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert [float(r["valid/f1"]) for r in rows] == [r["valid"]["f1"] for r in run.history]
    page = (tmp_path / "r/README.md").read_text().splitlines()
    assert page[0] == "# bag, trained on synthetic twin of MOSEI"
    assert any(line.startswith("* bag, preset paper") for line in page)
    assert f"| this run | {run.metrics['valid']['acc']:.3f} |" in "\n".join(page)
    assert any("as was the threshold" in line for line in page)
    train(store, replace(QUICK, epochs=1, threshold=0.3), out=tmp_path / "given")
    assert "as was the threshold" not in (tmp_path / "given/README.md").read_text()


def test_predict_and_evaluate_take_paths(store, tmp_path):
    "A run folder and a store or arrays, as the command line does; elsewhere a store is needed."
    run = train(store, replace(QUICK, epochs=1), out=tmp_path / "r")
    there = predict(run, store, "test")
    for path in (store.path, str(store.path)):
        assert np.array_equal(predict(tmp_path / "r", path, "test").scores, there.scores)
    assert evaluate(tmp_path / "r", store.path, "valid") == run.metrics["valid"]
    part, arrays = store["test"], {"id": np.array(there.id)}
    with part.opened() as data:
        for m, values in data.items():
            arrays |= {f"{m}_values": values[:], f"{m}_offsets": np.r_[0, part.lengths[m].cumsum()]}
    np.savez(tmp_path / "clips.npz", **arrays)
    found = predict(tmp_path / "r", tmp_path / "clips.npz")
    assert np.allclose(found.scores, there.scores, atol=1e-6) and found.id == there.id
    for use in (
        lambda: fit(run.model, store.path, QUICK),
        lambda: make_model("bag", str(store.path)),
    ):
        with pytest.raises(CaratError, match=r"is a path, and a store is needed.*Store\(path\)"):
            use()


def test_tensorboard_and_the_table_hold_the_same_numbers(store, tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = train(store, replace(QUICK, epochs=2), out=tmp_path / "r")
    events = reader.EventAccumulator(str(tmp_path / "r/tensorboard")).Reload()
    rows = list(csv.DictReader((tmp_path / "r/history.csv").read_text().splitlines()))
    assert set(events.Tags()["scalars"]) == set(rows[0]) - {"epoch"}
    for name in events.Tags()["scalars"]:
        kept = [float({"True": 1, "False": 0}.get(r[name], r[name])) for r in rows]
        assert np.allclose([e.value for e in events.Scalars(name)], kept)
    assert len(run.history) == len(rows)


def test_a_line_of_80_columns_shows_the_epoch_and_its_f1(monkeypatch, capsys):
    from tqdm import tqdm

    record = dict(epoch=20, losses={"loss": 12.3456}, valid={"f1": 0.5555}, seconds={"train": 1})
    display = loop._Display(True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    display.start(100, 0)
    display.bar.ncols, display.bar.dynamic_ncols = 80, None
    for _ in range(100):
        display.step()
    display.epoch(record, 20, 0.5777)
    line = tqdm.format_meter(**{**display.bar.format_dict, "elapsed": 4000, "ncols": 80})
    assert len(line) <= 80
    assert "F1 0.555 (best 0.578), epoch 20/20, loss 12.346" in line
    display.close()


def test_a_disk_that_refuses_tensorboard_is_named(store, tmp_path, monkeypatch):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")

    def full(*of):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensorboard.SummaryWriter, "add_scalar", full)
    with pytest.raises(CaratError, match="r/tensorboard cannot be written: No space left"):
        train(store, out=tmp_path / "r")


@pytest.mark.parametrize("name", ["config.json", "best.safetensors", "history.jsonl", "README.md"])
def test_a_disk_that_refuses_a_file_is_named(name, store, tmp_path, monkeypatch):
    def full(path, data):
        if path.name == name:
            raise OSError(28, "No space left on device", str(path.parent / ".x.abc"))
        write_whole(path, data)

    monkeypatch.setattr("carat.train.run.write_whole", full)
    with pytest.raises(CaratError, match=rf"r/{name} cannot be written: No space left on device$"):
        train(store, replace(QUICK, epochs=1), out=tmp_path / "r")


def test_a_loss_that_is_gone_is_named(store):
    class Moody(Bag):
        def losses(self, batch):
            terms = super().losses(batch)
            return terms if len(self.seen) < 2 else {"loss": terms["loss"]}

    with pytest.raises(CaratError, match="this step has no loss bce, and earlier steps had"):
        fit(Moody(make_model("bag", store).config), store, QUICK, progress=False)


def test_a_run_that_fails_early_gives_its_folder_back(store, tmp_path, monkeypatch):
    "Also where it fails between the lock and the first epoch."

    def broken(info):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(loop, "outline", broken)
        with pytest.raises(ZeroDivisionError):
            train(store, out=tmp_path / "r")
    train(store, replace(QUICK, epochs=1), out=tmp_path / "r")


def test_scores_that_are_not_finite_name_the_sample(store):
    class Wild(Bag):
        def predict(self, batch):
            scores = self(batch).sigmoid()
            return Scores(torch.where(torch.arange(len(batch))[:, None] == 3, torch.nan, scores))

    name = str(store["valid"].id[3])
    with pytest.raises(CaratError, match=rf"scores of sample '{re.escape(name)}' \(row 3\)"):
        fit(Wild(make_model("bag", store).config), store, QUICK, progress=False)
