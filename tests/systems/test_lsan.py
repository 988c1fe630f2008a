"LSAN against the recorded step of its published code, and what crosses chapters."

import numpy as np
import pytest
import torch
from recorded import recorded_case

from carat.core import CaratError
from carat.system import make_model
from carat.systems.lsan import LSAN, replay
from carat.train import TrainConfig
from carat.train.checks import few_clips
from carat.train.optim import make_optimizer, set_rates


@pytest.fixture(scope="module")
def case():
    return recorded_case("lsan")


def test_a_recorded_step_of_the_published_code_is_repeated(case):
    ours = replay(case)
    for key, value in ours.items():
        np.testing.assert_allclose(value, case[key], rtol=0, atol=1e-9, err_msg=key)
    given = ("x/", "weight/", "draw/", "setting")
    assert {k for k in case if not k.startswith(given)} - {"y"} == set(ours)


def test_the_presets_optimiser_takes_the_recorded_step(case):
    how, parameters = TrainConfig.preset(LSAN, "reference"), {}
    names = [k[5:] for k in case if k.startswith("grad/") and f"weight/{k[5:]}" in case]
    for k in names:
        p = parameters[k.replace(".", "_")] = torch.nn.Parameter(torch.tensor(case[f"weight/{k}"]))
        p.grad = torch.tensor(case[f"grad/{k}"])
    optimizer = make_optimizer(torch.nn.ParameterDict(parameters), how)
    set_rates(optimizer, how, 0, how.epochs)
    optimizer.step()
    for k, p in zip(names, parameters.values(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), case[f"after/{k}"], atol=1e-9)


def test_a_positive_may_weigh_more():
    store = few_clips(6)
    model, batch = make_model("lsan", store, preset="small").eval(), store["train"].batch(range(6))
    plain = model.losses(batch)["loss"]
    batch.weight = torch.full((6,), 3.0)
    assert model.losses(batch)["loss"] > plain


def test_sequences_without_a_common_clock_are_refused():
    store = few_clips(4)
    batch = store["train"].batch(range(4))
    batch.mask["v"] = batch.mask["v"].roll(1, 0)
    with pytest.raises(CaratError, match="aligned-KIND"):
        make_model("lsan", store, preset="small").predict(batch)
