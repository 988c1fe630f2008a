"One recorded training step of the published code, where the data folder has it."

import numpy as np
import pytest
import torch

from carat.core import CaratError
from carat.data.store import data_folder
from carat.published import published_weights, replay
from carat.systems.carat import CARAT, CaratConfig

CASE = data_folder() and data_folder() / "reference_case.npz"
needs_case = pytest.mark.skipif(
    not (CASE and CASE.exists()), reason="CARAT_DATA names no folder with reference_case.npz"
)


@needs_case
def test_every_quantity_agrees():
    rows = replay(CASE)
    assert len(rows) > 100
    assert not [r for r in rows if not r[1] < 1e-6]


@needs_case
def test_noise_labels_of_an_untouched_queue_match_nothing():
    case = dict(np.load(CASE))
    case["weight/queue_label"] = np.random.default_rng(0).standard_normal(
        case["weight/queue_label"].shape
    )
    model = published_weights(
        {k[7:]: v for k, v in case.items() if k.startswith("weight/")}, heads=4
    )
    assert (model.queue.cls == -2).all() and model.queue.valid.all()


@needs_case
def test_a_weight_that_is_missing_is_named():
    case = {k[7:]: v for k, v in np.load(CASE).items() if k.startswith("weight/")}
    del case["va2t.output.weight"]
    with pytest.raises(CaratError, match="va2t.output.weight"):
        published_weights(case, heads=4)


def test_configurations_survive_json():
    import json

    for config in (
        CaratConfig(),
        CaratConfig.reference(),
        *(CaratConfig.variant(i) for i in range(1, 14)),
    ):
        assert CaratConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(CaratError, match="no setting called colour"):
        CaratConfig.from_dict({"colour": 1})


@pytest.mark.parametrize(
    "wrong",
    [
        dict(agg="sum"),
        dict(levels=("gamma",)),
        dict(layers=(1,)),
        dict(heads=7),
        dict(tau=0.0),
        dict(phi=1.0),
        dict(mrm=False, agg="none"),
    ],
)
def test_a_wrong_setting_is_refused(wrong):
    with pytest.raises(CaratError):
        CaratConfig(**wrong)


def test_a_seed_fixes_the_weights():
    small = dict(d=16, d_z=4, d_h=8, ff=16, heads=2, layers=(1, 1, 1), queue=8)
    one, two = (torch.manual_seed(3) and CARAT(CaratConfig(**small)).state_dict() for _ in range(2))
    assert all(torch.equal(one[k], two[k]) for k in one)
