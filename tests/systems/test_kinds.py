"""Every system that the package brings, by the same commands: trained, stopped and resumed,
evaluated, asked, exported, and named by its options. What is special of a system is tested in its
chapter and in the file of its name."""

import dataclasses
import inspect
import re
from functools import lru_cache

import numpy as np
import pytest
import torch

from carat.core import CaratError
from carat.data.store import Store
from carat.data.twins.mosei import World, write_twin
from carat.data.twins.unaligned import write_unaligned_twin
from carat.data.writer import StoreWriter
from carat.study.runner import RunSpec, run
from carat.system import Network, kinds, make_model, recipe, system
from carat.train import evaluate, load_run, predict_split
from carat.train.export import export_run
from carat.train.figures import run_figures

KINDS = [k for k in kinds() if k not in ("aligned", "carat")]  # those have tests of their own
NETWORKS = [k for k in KINDS if issubclass(system(k), Network)]
LONG = "amp", "hhmpn", "mms2s", "mult", "tailor"  # to export
SLOW = [pytest.param(k, marks=pytest.mark.slow) if k in LONG else k for k in NETWORKS]
HOW = dict(epochs=2, batch_size=16, device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    d = tmp_path_factory.mktemp("kinds")
    sizes = {"train": 48, "valid": 12, "test": 12}
    write_twin(d / "twin.h5", sizes, world=World(strength=8.0), missing=0.1)
    write_unaligned_twin(d / "loose.h5", sizes, steps=dict(t=8, v=20, a=16))
    write_few(d / "few.h5")
    return d


def write_few(path):
    "Clips of two modalities and two labels, so that what is exported stays short."
    rng, widths = np.random.default_rng(0), {"t": 12, "v": 8}
    with StoreWriter(path, "few", ["p", "q"], widths) as writer:
        for i in range(36):
            x = {m: rng.normal(size=(1 + i % 7, d)) for m, d in widths.items()}
            x.pop(("t", "v")[i % 2] if i % 9 == 0 else None, None)
            split = ("train", "train", "valid", "test")[i % 4]
            writer.add(split, str(i), [i % 2, i % 3 == 0], x)


@pytest.fixture(scope="module")
def trained(folder):
    "A function that trains a system once and returns its run; the run folder has the kind's name."

    @lru_cache(None)
    def of(kind):
        spec = RunSpec(folder / "twin.h5", folder / kind, kind, "small", training=HOW)
        return run(spec, progress=False)

    return of


@pytest.mark.parametrize("kind", KINDS)
def test_train_evaluate_and_predict(folder, trained, kind):
    done = trained(kind)
    again, store = load_run(folder / kind, "cpu"), Store(folder / "twin.h5")
    assert again.info["model"]["name"] == kind and again.info["preset"] == "small"
    for split in ("valid", "test"):
        mine, theirs = (predict_split(r.model, store[split], r.training)[0] for r in (done, again))
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))
    assert 0 <= evaluate(again, store, "test")["f1"] <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_figures_of_a_run(folder, trained, kind):
    trained(kind)
    figures = run_figures(load_run(folder / kind, "cpu"), Store(folder / "twin.h5"))
    assert {"history", "reliability", "confused_pairs"} <= set(figures)
    looks = {name for name in figures if name.startswith("attention")}
    assert bool(looks) == (kind == "fusion")  # of the others none looks at each modality by itself


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(folder, trained, kind):
    def stop(epoch, model, record):
        raise KeyboardInterrupt

    out = folder / f"{kind}-stopped"
    spec = RunSpec(folder / "twin.h5", out, kind, "small", training=HOW)
    with pytest.raises(KeyboardInterrupt):
        run(spec, progress=False, callbacks=[stop], checkpoint=0)
    resumed = run(spec, progress=False, resume=True)
    whole = trained(kind)
    assert [r["losses"] for r in resumed.history] == [r["losses"] for r in whole.history]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize("kind", NETWORKS)
def test_data_without_a_common_clock(folder, kind):
    store = Store(folder / "loose.h5")
    spec = RunSpec(folder / "loose.h5", None, kind, "small", training={**HOW, "epochs": 1})
    if make_model(kind, store, preset="small").common_clock:
        with pytest.raises(CaratError, match=f"--kind aligned-{kind}"):
            run(spec, progress=False)
        spec = dataclasses.replace(spec, kind=f"aligned-{kind}")
    assert np.isfinite(run(spec, progress=False).history[-1]["losses"]["loss"])


@pytest.mark.parametrize("kind", SLOW)
def test_the_exported_file_gives_the_same_scores(folder, kind):
    store = Store(folder / "few.h5")
    spec = RunSpec(folder / "few.h5", None, kind, "small", training={**HOW, "epochs": 1})
    done = run(spec, progress=False)
    if hasattr(done.model, "not_exported"):
        with pytest.raises(CaratError):
            export_run(done, folder / f"{kind}.pt2")
        return
    export_run(done, folder / f"{kind}.pt2")
    scorer = torch.export.load(folder / f"{kind}.pt2").module()
    batch = store["test"].batch(range(5))
    scores = done.model.eval().predict(batch).scores
    torch.testing.assert_close(scorer(batch.x, batch.mask), scores, rtol=1e-4, atol=1e-5)


def lines_of(cls):
    "The lines of a class's code, where it is one of the package's configurations."
    return inspect.getsource(cls).split("\n") if dataclasses.is_dataclass(cls) else []


@pytest.mark.parametrize("kind", KINDS)
def test_presets_and_options(kind):
    cls = system(kind)
    assert next(iter(cls.recipes)) == "paper" and "small" in cls.recipes
    fields = {f.name for f in dataclasses.fields(cls.Config)}
    for preset in cls.recipes:
        assert set(recipe(cls, preset)[1]) <= fields
    lines = [line for c in cls.Config.__mro__ for line in lines_of(c)]
    for name in fields:  # a sentence beside the field or above it
        i = next(i for i, line in enumerate(lines) if re.match(rf"    {name}: ", line))
        assert "#" in lines[i] or lines[i - 1].lstrip().startswith("#"), f"{name} has no sentence"
