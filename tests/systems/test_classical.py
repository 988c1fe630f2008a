"The systems that scikit-learn fits, and the plain baselines: through the command line and back."

import json

import numpy as np
import pytest
import torch

from carat import cli
from carat.data.memory import MemoryStore
from carat.data.store import Store
from carat.data.twins.mosei import make_twin
from carat.data.twins.unaligned import write_unaligned_twin
from carat.system import make_model
from carat.train import TrainConfig, evaluate, fit, load_run, predict

CLASSICAL = ("br", "lp", "cc")
OPTIONS = {
    "br": "--model.base gaussian_nb",
    "lp": "--model.k 3 --model.models 8",
    "cc": "--model.orders 2",
    "plain": "--preset small --model.fusion late --epochs 1",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "A twin with modalities that are missing and without a common clock."
    d = tmp_path_factory.mktemp("classical")
    steps = {"t": 8, "v": 20, "a": 20}
    write_unaligned_twin(d / "gaps.h5", size=120, seed=3, steps=steps, missing=0.4)
    return d


@pytest.mark.parametrize("kind", OPTIONS)
def test_trains_through_the_command_line_where_modalities_are_missing(folder, tmp_path, kind):
    out, more = tmp_path / "run", OPTIONS[kind].split()
    line = ["train", str(folder / "gaps.h5"), "--kind", kind, "--out", str(out), "--quiet", *more]
    assert cli.main([*line, "--device", "cpu", "--label-weights", "balanced"]) == 0
    run, store = load_run(out, "cpu"), Store(folder / "gaps.h5")
    assert 0 <= evaluate(run, store, "test")["f1"] <= 1
    found = predict(run, store, "test").scores
    assert np.isfinite(found).all() and ((found >= 0) & (found <= 1)).all()


def test_early_fusion_trains_behind_an_alignment(folder, tmp_path, capsys):
    line = ["train", str(folder / "gaps.h5"), "--preset", "small", "--epochs", "1", "--quiet"]
    line += ["--device", "cpu", "--out", str(tmp_path / "run")]
    assert cli.main([*line, "--kind", "plain"]) == 2
    assert "--kind aligned-plain" in capsys.readouterr().err
    aligned = ["--kind", "aligned-plain", "--model.align-steps", "8", "--model.align", "even"]
    assert cli.main([*line, *aligned]) == 0
    assert load_run(tmp_path / "run", "cpu").model.inner.config.fusion == "early"


@pytest.mark.parametrize("kind", CLASSICAL)
def test_labels_are_positive_above_zero(kind):
    "Intensities and the labels that they stand for give the same system."
    twin, rng = make_twin(120, seed=0), np.random.default_rng(0)
    soft, scale = {}, rng.uniform(0.1, 3, (twin.splits["train"], 6))
    for s in twin.splits:
        split = twin[s]
        x = {m: (split.values(m), split.lengths[m]) for m in twin.modalities}
        y = np.asarray(split.y) * (scale if s == "train" else 1)
        soft[s] = dict(id=split.id.tolist(), x=x, y=y)
    soft = MemoryStore("soft", twin.labels, twin.modalities, soft)
    runs = [fit(make_model(kind, data), data, progress=False) for data in (twin, soft)]
    for a, b in zip(*(run.model.state_dict().values() for run in runs), strict=True):
        assert torch.equal(a, b)


def test_a_run_folder_from_before_there_was_a_base_is_read(tmp_path, monkeypatch):
    twin = make_twin(120, seed=0)
    run = fit(make_model("br", twin), twin, out=tmp_path / "run", progress=False)
    path = tmp_path / "run" / "config.json"
    info = json.loads(path.read_text())
    del info["model"]["config"]["base"]
    path.write_text(json.dumps(info))
    monkeypatch.setattr("carat.train.run._check_seals", lambda *args: None)
    batch = twin["test"].batch(range(twin.splits["test"]))
    again = load_run(tmp_path / "run", "cpu").model
    assert again.config.base == "logistic"
    assert torch.equal(again.predict(batch).scores, run.model.predict(batch).scores)


@pytest.mark.parametrize("kind", ["lp", "cc"])
def test_random_labelsets_and_orders_follow_the_seed_of_the_run(kind):
    twin, fields = make_twin(120, seed=0), {"lp": dict(k=2, models=6), "cc": dict(orders=2)}
    drawn = []
    for seed in (3, 3, 4):
        model = make_model(kind, twin, **fields[kind])
        fit(model, twin, TrainConfig.preset(kind, seed=seed), progress=False)
        drawn.append(model.state_dict()[{"lp": "labelsets", "cc": "order"}[kind]])
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
