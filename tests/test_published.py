"Weights of the published code, and one recorded training step of it where the data folder has it."

import numpy as np
import pytest
import torch

from carat.core import CaratError
from carat.data.store import data_folder
from carat.published import each_switch, published_shapes, published_weights, replay, switches
from carat.results import recorded
from carat.systems.carat import CARAT, CaratConfig

CASE = data_folder() and data_folder() / "reference_case.npz"
needs_case = pytest.mark.skipif(
    not (CASE and CASE.exists()), reason="CARAT_DATA names no folder with reference_case.npz"
)
CAST = 2**-24  # half a unit of float32
SMALL = dict(
    modalities={"t": 6, "v": 5, "a": 4}, layers=(2, 1, 1), d=16, d_z=4, d_h=8, ff=12, queue=8
)


def checkpoint(text=7, others=50, dtype=torch.float32):
    "Random weights by their published names, with that many positions."
    config = CaratConfig.reference(**SMALL, heads=2, max_steps=text)
    out = {k: torch.randn(shape, dtype=dtype) for k, shape in published_shapes(config).items()}
    for p in ("visual", "audio"):
        out[f"{p}.embeddings.position_embeddings.weight"] = torch.randn(others, 16, dtype=dtype)
    for p in ("text", "visual", "audio"):  # there, and never used
        out[f"{p}.pooler.dense.weight"] = torch.randn(16, 16, dtype=dtype)
        out[f"{p}.pooler.dense.bias"] = torch.randn(16, dtype=dtype)
    return {**out, "queue_ptr": torch.tensor([3])}


@needs_case
def test_every_quantity_agrees_to_float64_once_the_published_cast_is_repeated():
    rows = replay(CASE, rounded=True)
    worst = max(difference for _, difference in rows)
    assert len(rows) > 100 and worst < 4 * CAST
    if worst > 1e-11:
        pytest.skip("this processor rounds roots in float32 otherwise than that of the recording")


@needs_case
def test_without_the_cast_every_quantity_agrees_to_float32():
    assert not [r for r in replay(CASE) if not r[1] < 16 * CAST]  # a gradient may double it


@needs_case
def test_each_switch_that_acts_on_a_step_shows_in_it():
    differ = {name: n for name, _, _, n, _ in each_switch(CASE)}
    assert set(differ) == set(switches())
    assert {name for name, n in differ.items() if not n} == {"init", "queue_init"}


def test_the_recorded_replay_is_one_of_todays_switches():
    record = recorded("reference_case.json")["reference_case"]
    today = {name: (repr(code), repr(paper)) for name, (paper, code) in switches().items()}
    assert {name: (code, paper) for name, code, paper, *_ in record["switches"]} == today
    assert max(difference for _, difference in record["rounded"]) < 1e-11


@needs_case
def test_the_names_are_those_of_the_recorded_model():
    weights = {k[7:]: v.shape for k, v in np.load(CASE).items() if k.startswith("weight/")}
    config = published_weights(
        {k[7:]: v for k, v in np.load(CASE).items() if k.startswith("weight/")}, heads=4
    ).config
    unused = {k for k in weights if ".pooler." in k}
    assert published_shapes(config) == {k: v for k, v in weights.items() if k not in unused}


def test_noise_labels_of_an_untouched_queue_match_nothing():
    model = published_weights(checkpoint(), heads=2)
    assert (model.queue.cls == -2).all() and model.queue.valid.all()


def test_labels_of_a_filled_queue_are_kept():
    weights = {**checkpoint(), "queue_label": torch.arange(8.0)[:, None]}
    model = published_weights(weights, heads=2)
    assert model.queue.cls.tolist() == list(range(8)) and int(model.queue.pointer) == 3


def test_positions_beyond_those_of_text_are_left_out():
    weights = checkpoint(text=7, others=50)
    model = published_weights(weights, heads=2)
    assert model.config.max_steps == 7
    for m, p in (("t", "text"), ("v", "visual"), ("a", "audio")):
        table = weights[f"{p}.embeddings.position_embeddings.weight"]
        assert torch.equal(model.encoders[m].position.weight, table[:7])
    assert published_weights(weights, heads=2, max_steps=5).config.max_steps == 5
    with pytest.raises(CaratError, match="text.embeddings.position_embeddings.weight"):
        published_weights(weights, heads=2, max_steps=8)


def test_weights_may_carry_a_graph_as_the_published_queue_does():
    weights = {k: v.requires_grad_(v.is_floating_point()) for k, v in checkpoint().items()}
    model = published_weights(weights, heads=2)
    assert not model.queue.rows.requires_grad
    assert not any(w.grad_fn for w in model.state_dict().values())


def test_arrays_and_float64_are_taken_too():
    weights = {k: v.numpy() for k, v in checkpoint(dtype=torch.float64).items()}
    assert published_weights(weights, heads=2).En.lin1.weight.dtype == torch.float64


@pytest.mark.parametrize("name", [k for k in checkpoint() if ".pooler." not in k])
def test_a_weight_that_is_missing_or_misshapen_is_named(name):
    weights = checkpoint()
    missing = {k: v for k, v in weights.items() if k != name}
    with pytest.raises(CaratError) as e:
        published_weights(missing, heads=2)
    assert name in str(e.value)
    misshapen = {**weights, name: weights[name][None]}
    with pytest.raises(CaratError) as e:
        published_weights(misshapen, heads=2)
    assert name in str(e.value)


@pytest.mark.parametrize(
    "unknown", ["extra.weight", "text.encoder.layer.0.extra", "text.encoder.layer.x.output.dense"]
)
def test_an_unknown_weight_is_named(unknown):
    with pytest.raises(CaratError, match=f"no weight called {unknown}"):
        published_weights({**checkpoint(), unknown: torch.zeros(2)}, heads=2)


def test_a_model_of_unaligned_sequences_is_refused():
    ctc = {"a2t_ctc.pred_output_position_inclu_blank.weight_ih_l0": torch.zeros(2, 2)}
    with pytest.raises(CaratError, match="a2t_ctc.*alignment"):
        published_weights({**checkpoint(), **ctc}, heads=2)


def test_switches_may_leave_parts_out_and_not_ask_for_others():
    model = published_weights(checkpoint(), heads=2, gamma_s=0.0, shuffles=())
    assert not hasattr(model, "queue")
    with pytest.raises(CaratError, match="h_cat"):
        published_weights(checkpoint(), heads=2, agg="concat")


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
