"The recorded step of the published graph network, and what a run keeps of its graph."

import numpy as np
import pytest
import torch
from recorded import recorded_case

from carat.systems.ml_gcn import MLGCN, counted, replay
from carat.train import TrainConfig, fit, load_run
from carat.train.checks import few_clips
from carat.train.optim import make_optimizer, set_rates


@pytest.fixture(scope="module")
def case():
    return recorded_case("ml_gcn")


def test_the_recorded_step_is_replayed(case):
    found = replay(case)
    given = ("x/", "setting", "weight/gc", "counts/y_train", "y")
    wanted = {k for k in case if not k.startswith(given)}
    assert set(found) == wanted
    gaps = {k: np.abs(v - case[k]).max() for k, v in found.items()}
    rounded = 1e-6  # the published adjacency passed through float32 in one place
    assert not {k: g for k, g in gaps.items() if not g < rounded}


def test_the_presets_optimiser_takes_the_recorded_step(case):
    how = TrainConfig.preset(MLGCN, "reference")
    names = [k[5:] for k in case if k.startswith("grad/")]
    model = torch.nn.ParameterDict(
        {k.replace(".", "_"): torch.from_numpy(case[f"weight/{k}"].copy()) for k in names}
    )
    for k, p in zip(names, model.values(), strict=True):
        p.grad = torch.from_numpy(case[f"grad/{k}"].copy())
    optimizer = make_optimizer(model, how)
    set_rates(optimizer, how, 0, 100)
    torch.nn.utils.clip_grad_norm_(model.values(), how.clip)
    optimizer.step()
    for k, p in zip(names, model.values(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), case[f"after/{k}"], atol=1e-12)


def test_a_run_keeps_its_graph(tmp_path):
    from carat.system import make_model

    store = few_clips(16)
    model = make_model("ml_gcn", store, preset="small")
    how = TrainConfig.preset(MLGCN, "small", epochs=1, device="cpu")
    fit(model, store, how, out=tmp_path / "run", progress=False)
    graph = model.graph.adjacency
    assert not torch.equal(graph, torch.eye(6))
    assert torch.equal(load_run(tmp_path / "run", device="cpu").model.graph.adjacency, graph)


def test_a_label_that_never_occurs_is_trained_without_harm():
    from carat.system import make_model

    store = few_clips(16)
    y = store["train"].y
    y[:, 2] = 0
    assert counted(torch.as_tensor(y))[1][2] == 0
    for preset in ("small", "reference"):
        model = make_model("ml_gcn", store, preset=preset)
        model.graph.count(torch.as_tensor(y))
        finite = model.predict(store["train"].batch(range(4))).scores.isfinite().all()
        assert finite == (preset == "small")
