"HHMPN against a recorded step of its published code, and what its chapter has no time for."

import numpy as np
import pytest
import torch
from recorded import recorded_case

from carat.core import CaratError
from carat.data.memory import MemoryStore
from carat.system import make_model
from carat.systems.hhmpn import HHMPN, HHMPNConfig, replay
from carat.train import TrainConfig, fit
from carat.train.checks import check_gradient, check_network, few_clips

SMALL = HHMPN.recipes["small"][0]
GIVEN = ("x/", "y", "size/", "weight/", "label_attention/weight/")


@pytest.fixture(scope="module")
def case():
    return recorded_case("hhmpn")


def test_every_recorded_number_is_computed(case):
    found = replay(case)
    given = {k for k in case if k.startswith(GIVEN)} | {"prior/labels", "prior/threshold"}
    assert set(found) == set(case) - given
    for name, value in found.items():
        np.testing.assert_allclose(value, case[name], rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    "switch, own",
    [
        ("fusion", "modalities"),
        ("wiring", "own"),
        ("keys", "stream"),
        ("causal", False),
        ("padding", "masked"),
    ],
)
def test_each_switch_shows_in_the_recorded_step(case, switch, own, monkeypatch):
    from carat.systems import hhmpn

    monkeypatch.setitem(hhmpn._PUBLISHED, switch, own)
    assert np.abs(replay(case)["logits"] - case["logits"]).max() > 1e-4


def test_a_modality_of_the_width_of_the_nodes_skips_its_projection_as_published():
    widths = {"t": 8, "v": 4, "a": 8}
    sizes = dict(modalities=widths, labels=("one", "two"), **{**SMALL, "d": 8})
    for project_all, expected in ((True, 6), (False, 2)):
        model = HHMPN(HHMPNConfig(**sizes, project_all=project_all))
        assert len(list(model.streams.project.parameters())) == expected


@pytest.mark.parametrize("options", [{}, dict(encoder="projection")])
def test_the_paper_at_small_sizes_passes_every_check(options):
    check_network("hhmpn", preset="paper", **SMALL, **options)


def test_reference_gives_every_parameter_a_gradient():
    store = few_clips(6)
    model = make_model("hhmpn", store, preset="reference", **SMALL)
    check_gradient(model, store["train"].batch(range(6)))


def test_a_graph_with_a_label_that_never_occurs_trains(tmp_path):
    store = few_clips(8)
    clips = store["train"]
    x = {m: (clips.values(m), clips.lengths[m]) for m in store.modalities}
    y = np.asarray(clips.y).copy()
    y[:, 2] = 0
    splits = {s: dict(id=clips.id.tolist(), x=x, y=y) for s in ("train", "valid")}
    lacking = MemoryStore("a label never occurs", store.labels, store.modalities, splits)
    model = make_model("hhmpn", lacking, preset="small")
    how = TrainConfig.preset("hhmpn", "small", epochs=1, batch_size=8, device="cpu")
    done = fit(model, lacking, how, out=tmp_path / "run", progress=False)
    assert model.graph[2].tolist() == [j == 2 for j in range(6)]
    assert np.isfinite(done.history[0]["losses"]["loss"])


def test_the_graph_survives_a_run_folder(tmp_path):
    from carat.train import load_run

    store = few_clips(8)
    model = make_model("hhmpn", store, preset="small", edge=0.9)
    how = TrainConfig.preset("hhmpn", "small", epochs=1, batch_size=8, device="cpu")
    fit(model, store, how, out=tmp_path / "run", progress=False)
    again = load_run(tmp_path / "run", device="cpu").model
    assert torch.equal(again.graph, model.graph) and not model.graph.all()


@pytest.mark.parametrize(
    "wrong",
    [
        dict(modalities={"t": 3, "v": 3}, wiring="crossed"),
        dict(heads=3),
        dict(label_heads=3),
        dict(fusion="steps"),
        dict(edge=-1.0),
        dict(encoder_dropout=1.0),
    ],
)
def test_a_wrong_setting_is_refused(wrong):
    with pytest.raises(CaratError):
        HHMPNConfig(**{"modalities": {"t": 3}, "labels": ("one",), **wrong})
