"TAILOR against a recorded step of its published code, and what its chapter has no time for."

import numpy as np
import pytest
import torch
from recorded import recorded_case

from carat.core import CaratError
from carat.system import make_model
from carat.systems import tailor
from carat.systems.tailor import TAILOR, TailorConfig, replay
from carat.train import TrainConfig
from carat.train.checks import check_gradient, check_network, check_scores, few_clips
from carat.train.loop import train_step
from carat.train.optim import make_optimizer, set_rates

GIVEN = ("x/", "y", "size/", "weight/", "masked/mask", "unaligned/x/", "unaligned/weight/")
SMALL = dict(modalities={"t": 5, "v": 4, "a": 3}, labels=("joy", "fear"), d=8, heads=2, ff=4)


@pytest.fixture(scope="module")
def case():
    return recorded_case("tailor")


def differing(found, case, relative=1e-9):
    "The keys whose numbers differ, relative to the largest of the array."
    out = set()
    for name, value in found.items():
        assert value.shape == case[name].shape, name
        scale = max(1.0, np.abs(case[name]).max())
        if not np.abs(value - case[name]).max() <= relative * scale:
            out.add(name)
    return out


def test_every_recorded_number_is_computed(case):
    found = replay(case)
    assert set(found) == {k for k in case if not k.startswith(GIVEN)}
    assert not differing(found, case)


def test_the_presets_optimiser_takes_the_recorded_steps(case):
    model = TAILOR(tailor._config(case)).double()
    tailor._load(model, case)
    batch = tailor._batch(case, {m: f"x/{m}" for m in "tva"})
    how = TrainConfig.preset(TAILOR, "reference", lr=float(case["size/lr"]))
    optimizer = make_optimizer(model, how)
    for step in range(2):
        set_rates(optimizer, how, step, int(case["size/t_total"]))
        train_step(model, batch, optimizer, how)
    found = {k: v.numpy() for k, v in tailor._parts(model, "after", lambda p: p).items()}
    assert len(found) == 190 and not differing(found, case)


def test_a_wrong_weight_shows_in_every_part(case):
    name = "weight/private_feature_extractor.1.0.bias"
    wrong = differing(replay({**case, name: case[name] + 0.1}), case)
    for part in ("scores", "loss/total", "masked/scores", "unaligned/scores", "after_loss/total"):
        assert part in wrong
    assert "value/encoded_v" not in wrong and "unaligned/loss/ctc_v" not in wrong


@pytest.mark.parametrize("sizes", [{}, dict(T=5, Tv=9, Ta=12, heads=4, layers=(1, 2, 1, 2, 2))])
def test_a_recording_of_other_sizes_is_replayed(sizes):
    """Only the shapes matter: the weights are ours under the published names."""
    case = made_up({**dict(T=4, Tv=6, Ta=5, heads=2, layers=(1, 1, 2, 1, 1)), **sizes})
    found = replay(case)
    x = {m: torch.from_numpy(case[f"x/{m}"]) for m in "tva"}
    model = TAILOR(tailor._config(case)).double()
    tailor._load(model, case)
    scores = model.predict(tailor._batch(case, {m: f"x/{m}" for m in x})).scores
    np.testing.assert_allclose(found["scores"], scores.detach().numpy(), atol=1e-12)
    weights = {k.replace("weight/", "grad/", 1) for k in case if k.startswith("weight/")}
    assert weights <= set(found)


def made_up(size):
    "A case with random numbers."
    rng = np.random.default_rng(0)
    given = {"B": 3, "C": 2, "H": 8, "F": 6, "lr": 0.01, "t_total": 9, "d": (5, 4, 3), **size}
    case = {f"size/{k}": np.array(v) for k, v in given.items()}
    steps = {"t": given["T"], "v": given["T"], "a": given["T"]}
    for m, d in zip("tva", given["d"], strict=True):
        case[f"x/{m}"] = rng.normal(size=(3, steps[m], d))
        case[f"masked/mask_{m}"] = np.ones((3, given["T"]), dtype=bool)
    case["y"] = rng.integers(0, 2, (3, 2)).astype(float)
    model = TAILOR(tailor._config(case)).double()
    case |= {k: v.numpy() for k, v in tailor._parts(model, "weight", lambda p: p).items()}
    for m, d in (("v", 4), ("a", 3)):
        case[f"unaligned/x/{m}"] = rng.normal(size=(3, given[f"T{m}"], d))
        lstm = torch.nn.LSTM(d, given["T"] + 1, 2).double()
        for k, v in lstm.state_dict().items():
            name = f"unaligned/weight/{m}2t_ctc.pred_output_position_inclu_blank.{k}"
            case[name] = v.numpy()
    return case


def test_one_number_of_layers_serves_all_further_modalities():
    assert TailorConfig(**SMALL).layers == (6, 4, 4)
    assert TailorConfig(**SMALL, layers=(2,)).layers == (2, 2, 2)
    assert TailorConfig(**SMALL, layers=(3, 2, 1)).layers == (3, 2, 1)
    again = TailorConfig.from_dict(TailorConfig(**SMALL).to_dict())
    assert again == TailorConfig(**SMALL)


@pytest.mark.parametrize(
    "wrong", [dict(heads=3), dict(layers=(-1,)), dict(padding="all"), dict(dropout=1.0)]
)
def test_a_wrong_setting_is_refused(wrong):
    with pytest.raises(CaratError, match=f"TailorConfig.{next(iter(wrong))}|TailorConfig.d"):
        TailorConfig(**{**SMALL, **wrong})


def test_a_batch_without_labels_cannot_be_trained_on():
    clips = few_clips(4)
    batch = clips["train"].batch(range(4))
    batch.y = None
    with pytest.raises(CaratError, match="no labels"):
        make_model("tailor", clips, preset="small").losses(batch)


def test_the_published_dropout_of_a_logit_gives_one_half():
    torch.manual_seed(0)
    clips = few_clips(16)
    batch = clips["train"].batch(range(16))
    how = dict(preset="small", dropout=0.0, head_dropout=0.5)
    for drops, whether in (("logit", True), ("features", False)):
        model = make_model("tailor", clips, head_drops=drops, **how)
        assert bool((model(batch).logits == 0).any()) == whether
        assert (model.eval()(batch).logits != 0).all()


def test_attended_padding_is_zeros_that_are_read():
    clips = few_clips(4)
    batch = clips["train"].batch(range(4))
    how = dict(preset="small", max_steps=batch.x["t"].shape[1])
    model = make_model("tailor", clips, padding="attended", **how).eval()
    masked = make_model("tailor", clips, **how).eval()
    scores = model.predict(batch).scores
    batch.mask = {m: torch.ones_like(v) for m, v in batch.mask.items()}
    torch.testing.assert_close(masked.predict(batch).scores, scores)


def test_every_preset_learns_with_every_parameter():
    clips = few_clips(3)
    sizes = dict(d=16, heads=2, ff=8, layers=(1,), fusion_layers=1)
    for preset in ("paper", "reference"):
        model = make_model("tailor", clips, preset=preset, **sizes)
        check_gradient(model, clips["train"].batch(range(3)))
    check_network("tailor", preset="paper", **sizes)


def test_behind_an_alignment():
    clips, clock = few_clips(4), dict(align_steps=12, align_positions="own", align_hidden=8)
    batch = clips["train"].batch(range(4))
    batch.x["a"], batch.mask["a"] = (
        v.repeat_interleave(2, 1) for v in (batch.x["a"], batch.mask["a"])
    )
    with pytest.raises(CaratError, match="needs a common clock"):
        make_model("tailor", clips, preset="small").predict(batch)
    model = make_model("aligned-tailor", clips, preset="small", **clock)
    check_scores(model, batch)
    check_gradient(model, batch)
