"AMP against a recorded step of the published code, and in the training loop."

import contextlib

import numpy as np
import pytest
import torch
from recorded import recorded_case

from carat.data.twins.mosei import make_twin
from carat.system import make_model
from carat.systems.amp import AMP, replay
from carat.train import TrainConfig, fit, load_run
from carat.train.checks import check_network, few_clips
from carat.train.loop import train_step
from carat.train.optim import make_optimizer, set_rates

GROUPS = "value scores scores_masked scores_perturbed loss perturbed after grad grad_asymmetric "
GROUPS = (GROUPS + "grad_before_perturbation").split()


@pytest.fixture(scope="module")
def pair():
    "The recorded step, and the same step computed anew."
    case = recorded_case("amp")
    return case, replay(case)


@pytest.mark.parametrize("group", GROUPS)
def test_a_recorded_step_is_computed_anew(pair, group):
    case, ours = pair
    names = {name for name in case if name.partition("/")[0] == group}
    assert names and names == {name for name in ours if name.partition("/")[0] == group}
    for name in names:
        largest = max(1.0, float(np.abs(case[name]).max()))
        np.testing.assert_allclose(ours[name], case[name], rtol=0, atol=1e-9 * largest)


def test_the_divergence_sends_less_than_a_millionth_of_the_recorded_gradient(pair):
    case, _ = pair
    prefix = "grad_before_perturbation/"
    names = [name.removeprefix(prefix) for name in case if name.startswith(prefix)]
    kl = sum(np.square(case[f"grad/{n}"] - case[prefix + n]).sum() for n in names)
    assert kl / sum(np.square(case[f"grad/{n}"]).sum() for n in names) < 1e-12


def test_the_optimiser_of_the_reference_decays_everything_as_replay_does():
    torch.manual_seed(0)
    sizes = dict(d=8, heads=2, ff=8, encoder_layers=1)
    model = make_model("amp", few_clips(4), preset="reference", **sizes)
    how = TrainConfig.preset("amp", "reference")
    ours = make_optimizer(model, how)
    assert set_rates(ours, how, 0, 100) == pytest.approx(5e-6)
    assert set_rates(ours, how, 99, 100) == pytest.approx(4.1e-5)
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    set_rates(ours, how, 0, 100)
    ours.step()
    theirs = torch.optim.AdamW(before, 5e-6, weight_decay=0.01)
    for p in before:
        p.grad = torch.ones_like(p)
    theirs.step()
    for p, q in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-9)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_of_the_loop_records_the_divergence_and_keeps_finite(precision):
    store = few_clips(8)
    model = make_model("amp", store, preset="small").train()
    how = TrainConfig.preset("amp", "small", precision=precision)
    optimiser = make_optimizer(model, how)
    set_rates(optimiser, how, 0, 10)
    losses, norm = train_step(model, store["train"].batch(range(8)), optimiser, how)
    assert set(losses) == {"loss", "asymmetric", "asymmetric_masked", "kl"}
    assert norm.isfinite() and losses["kl"].isfinite()
    assert losses["kl"] > 0 and not losses["kl"].requires_grad


def test_no_step_waits_for_the_device(monkeypatch):
    "Tensors of the device `meta` hold no numbers: what would read one fails."
    monkeypatch.setattr(torch, "autocast", lambda *a, **k: contextlib.nullcontext())
    store = few_clips(4)
    for preset in ("paper", "reference"):
        sizes = dict(d=8, heads=2, ff=8, encoder_layers=1)
        model = make_model("amp", store, preset=preset, **sizes).train().to("meta")
        batch = store["train"].batch(range(4)).to("meta")
        model.backward(model.losses(batch), batch)
        model.predict(batch)


def test_a_share_of_a_batch_scales_the_divergence_too():
    store = few_clips(8)
    batch = store["train"].batch(range(8))
    terms = []
    for total in (None, 32):  # one process, and one that holds a quarter of the samples
        model = make_model("amp", store, preset="small", dropout=0.0).train()
        batch.total = total
        how = TrainConfig.preset("amp", "small", lr=0.0)
        optimiser = make_optimizer(model, how)
        terms.append(train_step(model, batch, optimiser, how)[0])
    for name, v in terms[0].items():
        torch.testing.assert_close(terms[1][name], v / 4)


def test_paper_passes_the_checks_and_reference_reads_padding():
    sizes = dict(d=16, heads=2, ff=16, encoder_layers=1)
    check_network("amp", preset="paper", **sizes)
    with pytest.raises(AssertionError, match="changes a score"):
        check_network("amp", preset="reference", steps=0, **sizes)


def test_a_run_is_loaded_with_its_scores(tmp_path):
    store = make_twin({"train": 24, "valid": 8, "test": 8})
    model = make_model("amp", store, preset="small", d=16)
    how = TrainConfig.preset("amp", "small", epochs=1, device="cpu")
    run = fit(model, store, how, out=tmp_path / "run", progress=False)
    again, batch = load_run(tmp_path / "run", device="cpu"), store["test"].batch(range(8))
    assert isinstance(again.model, AMP) and "kl" in run.history[0]["losses"]
    assert torch.equal(again.model.predict(batch).scores, run.model.predict(batch).scores)
