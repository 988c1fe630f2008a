"""A system in a package of its own: installed beside carat, found by its entry point, and then
trained, stopped and resumed, evaluated, asked and explained by the commands, without an edit here.
"""

import csv
import json
import textwrap

import pytest
from commands import Commands

MODULE = """
from dataclasses import dataclass, field

import torch

from carat.core import Settings
from carat.system import Network, Scores


@dataclass(frozen=True)
class Sizes(Settings):
    modalities: dict = field(default_factory=dict)  # name -> width
    labels: tuple = ()  # names
    width: int = 8  # of the hidden layer


@dataclass(frozen=True)
class MeansConfig(Sizes):
    # share of hidden units that are dropped
    # in training
    dropout: float = 0.1

    def __post_init__(self):
        object.__setattr__(self, "labels", tuple(self.labels))


class Means(Network):
    Config = MeansConfig
    recipes = {"small": ({}, {"lr": 0.01}), "wide": ({"width": 32}, {"lr": 0.02})}

    def __init__(self, config):
        super().__init__(config)
        wide = sum(config.modalities.values())
        self.net = torch.nn.Sequential(
            torch.nn.Linear(wide, config.width),
            torch.nn.ReLU(),
            torch.nn.Dropout(config.dropout),
            torch.nn.Linear(config.width, len(config.labels)),
        )

    def forward(self, batch):
        return self.net(torch.cat([batch.x[m].mean(1) for m in self.config.modalities], 1))

    def losses(self, batch):
        logits = self(batch)
        return {"loss": torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.y)}

    def predict(self, batch):
        scores = self(batch).sigmoid()
        return Scores(scores, {"doubt": 1 - (2 * scores - 1).abs()})
"""
TRAIN = "train twin.h5 --kind means --out run --epochs 3 --batch-size 32 --device cpu"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "A folder with an installed package that adds the system `means`, and a store."
    folder = tmp_path_factory.mktemp("site")
    (folder / "elsewhere.py").write_text(MODULE)
    info = folder / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[carat.systems]\nmeans = elsewhere:Means\n")
    return folder


@pytest.fixture(scope="module")
def carat(site):
    "The command, with that package; there is a run."
    with Commands(site) as command:
        assert command("prepare twin --out twin.h5 --size 120")[0] == 0
        assert command(f"{TRAIN} --model.width 16")[0] == 0
        yield command


def test_the_run_folder_names_it(site, carat):
    config = json.loads((site / "run/config.json").read_text())
    assert config["model"]["name"] == "means" and config["model"]["config"]["width"] == 16
    assert config["preset"] == "small" and config["training"]["lr"] == 0.01
    assert config["summary"]["parameters"] == (300 + 35 + 74 + 1) * 16 + 17 * 6


def test_every_option_has_its_sentence(carat):
    status, said = carat("train --kind means --help")
    assert status == 0
    plain = " ".join(said.replace("│", " ").split())
    assert "of the hidden layer" in plain  # inherited
    assert "share of hidden units that are dropped in training" in plain  # above the field
    assert "small, wide" in plain and "the largest learning rate" in plain


def test_presets_are_the_systems_own(site, carat):
    status, _ = carat(f"{TRAIN.replace('run', 'wide')} --preset wide")
    config = json.loads((site / "wide/config.json").read_text())
    assert status == 0 and config["model"]["config"]["width"] == 32
    assert config["training"]["lr"] == 0.02
    status, said = carat(f"{TRAIN.replace('run', 'x')} --preset paper")
    assert status == 2 and "use one of small, wide" in said


def test_evaluate_and_predict(site, carat):
    status, said = carat("evaluate run twin.h5 --split test --device cpu")
    assert status == 0 and "micro-F1" in said
    assert carat("predict run twin.h5 --out test.csv --device cpu")[0] == 0
    with open(site / "test.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert rows and 0 <= float(rows[0]["happy_doubt"]) <= 1


def test_a_stopped_run_goes_on(site, carat):
    program = textwrap.dedent("""
        from carat.study.runner import RunSpec, run

        def stop(epoch, model, record):
            if epoch == 2: raise KeyboardInterrupt

        how = dict(epochs=3, batch_size=32, device="cpu")
        spec = RunSpec("twin.h5", "stopped", kind="means", training=how)
        try: run(spec, progress=False, callbacks=[stop], checkpoint=0)
        except KeyboardInterrupt: pass
        resumed = run(spec, progress=False, resume=True)
        whole = run(RunSpec("twin.h5", kind="means", training=how), progress=False)
        a, b = ([r["losses"] for r in x.history] for x in (resumed, whole))
        assert a == b, (a, b)
    """)
    status, _ = carat.python(program)
    assert status == 0, status


def test_a_class_of_ones_own_needs_no_package(site, carat):
    "Named by its place; its run is loaded once the class is named again."
    line = TRAIN.replace("--kind means", "--kind elsewhere:Means").replace("run", "own")
    assert carat(line)[0] == 0
    with Commands(site) as fresh:  # as a later command is
        status, said = fresh("evaluate own twin.h5 --device cpu")
    assert status == 2 and "--kind" in said
    for command in (
        "evaluate own twin.h5",
        "predict own twin.h5 --out own.csv",
        "plot own twin.h5",
    ):
        assert carat(f"{command} --device cpu --kind elsewhere:Means")[0] == 0, command
    assert (site / "own.csv").read_text().startswith("id,labels,")


def test_without_the_package_its_run_is_refused(site, carat, tmp_path):
    with Commands(tmp_path) as elsewhere:
        status, said = elsewhere(f"evaluate {site}/run {site}/twin.h5")
    assert status == 2 and "no model is called 'means'" in said
