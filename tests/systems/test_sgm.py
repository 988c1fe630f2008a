"SGM against the recorded steps of its published code, and what crosses chapters."

import numpy as np
import pytest
import torch
from recorded import recorded_case

from carat.core import CaratError
from carat.system import make_model
from carat.systems.sgm import SGM, replay
from carat.train import TrainConfig, fit
from carat.train.checks import few_clips
from carat.train.optim import make_optimizer, set_rates

CASES = ["sgm", "sgm_ge"]
GROUPS = ("tokens", "value", "logits", "loss", "greedy", "greedy_without_mask", "grad", "after")


@pytest.mark.parametrize("name", CASES)
def test_a_recorded_step_of_the_published_code_is_repeated(name):
    case = recorded_case(name)
    ours = replay(case)
    for key, value in ours.items():
        scale = max(1.0, float(np.abs(case[key]).max()))
        np.testing.assert_allclose(value, case[key], rtol=0, atol=1e-9 * scale, err_msg=key)
    for group in GROUPS:
        of_group = {k for k in case if k.split("/")[0] == group}
        assert of_group and of_group <= set(ours), group


@pytest.mark.parametrize("name", CASES)
def test_the_presets_optimiser_takes_the_recorded_step(name):
    case, how = recorded_case(name), TrainConfig.preset(SGM, "reference")
    names = [k[6:] for k in case if k.startswith("after/")]
    parameters = {}
    for k in names:
        p = parameters[k.replace(".", "_")] = torch.nn.Parameter(torch.tensor(case[f"weight/{k}"]))
        p.grad = torch.tensor(case[f"grad/{k}"])
    model = torch.nn.ParameterDict(parameters)
    optimizer = make_optimizer(model, how)
    set_rates(optimizer, how, 0, how.epochs)
    norm = float(case["value/grad_norm_before_clipping"])
    for p in parameters.values():
        p.grad *= min(1.0, how.clip / norm)
    optimizer.step()
    for k, p in zip(names, parameters.values(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), case[f"after/{k}"], atol=1e-9)


def test_the_order_is_counted_on_train_and_kept_with_the_weights():
    store = few_clips(12)
    model = make_model("sgm", store, preset="small", width=8, hidden=8)
    fit(model, store, TrainConfig(epochs=1, device="cpu"), progress=False)
    counts = (np.asarray(store["train"].y) > 0).sum(0)
    assert (np.diff(counts[model.order]) <= 0).all()
    other = make_model("sgm", store, preset="small", width=8, hidden=8)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.order, model.order)


def test_sequences_without_a_common_clock_are_refused():
    store = few_clips(4)
    batch = store["train"].batch(range(4))
    batch.mask["v"] = batch.mask["v"].roll(1, 0)
    with pytest.raises(CaratError, match="aligned-KIND"):
        make_model("sgm", store, preset="small").predict(batch)


def test_a_loss_needs_labels():
    store = few_clips(4)
    batch = store["train"].batch(range(4))
    batch.y = None
    with pytest.raises(CaratError, match="no labels"):
        make_model("sgm", store, preset="small").losses(batch)
