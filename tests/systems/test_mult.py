"The recorded step of the published MulT, and that the preset's optimiser takes it."

import numpy as np
import pytest
import torch
from recorded import recorded_case

from carat.systems.mult import MulT, replay
from carat.train import TrainConfig
from carat.train.optim import make_optimizer, set_rates


@pytest.fixture(scope="module")
def case():
    return recorded_case("mult")


def test_every_recorded_quantity_is_replayed(case):
    found = replay(case)
    given = ("x/", "y", "mask/", "weight/", "setting/", "aligned/x/", "ctc/x", "ctc/weight/")
    assert set(found) == {k for k in case if not k.startswith(given)}
    for k, v in found.items():
        assert v.shape == case[k].shape, k
    gaps = {k: np.abs(1.0 * v - case[k]).max() for k, v in found.items()}
    assert not {k: gap for k, gap in gaps.items() if not gap < 1e-11}


def test_the_presets_optimiser_takes_the_recorded_step(case):
    how = TrainConfig.preset(MulT, "reference")
    names = [k.removeprefix("grad/") for k in case if k.startswith("grad/")]
    model = torch.nn.ParameterDict(
        {k.replace(".", "_"): torch.from_numpy(case[f"weight/{k}"].copy()) for k in names}
    )
    parameters = {k: model[k.replace(".", "_")] for k in names}
    for k, p in parameters.items():
        p.grad = torch.from_numpy(case[f"grad/{k}"].copy())
    optimizer = make_optimizer(model, how)
    set_rates(optimizer, how, 0, 100)
    torch.nn.utils.clip_grad_norm_(model.parameters(), how.clip)
    optimizer.step()
    for k, p in parameters.items():
        np.testing.assert_allclose(p.detach().numpy(), case[f"after/{k}"], atol=1e-11)
