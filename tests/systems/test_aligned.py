"A model behind an alignment trains through the command line, also where a modality is missing."

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from carat import cli
from carat.core import CaratError, Settings
from carat.data.benchmarks import MODALITIES
from carat.data.store import Store
from carat.data.twins.unaligned import write_unaligned_twin
from carat.plots.figures import planted_hits
from carat.system import Network
from carat.systems.aligned import AlignedCARAT, wrap
from carat.train import TrainConfig, evaluate, fit, load_run, make_model, predict
from carat.train.checks import few_clips
from carat.train.figures import run_figures
from carat.train.optim import make_optimizer

SIZES = dict(layers=(1, 1, 1), d=16, d_z=8, d_h=8, heads=2, ff=16)
SMALL = (
    "--model.layers 1 1 1 --model.d 16 --model.d-z 8 --model.d-h 8 --model.heads 2 --model.ff 16"
)
ONE_EPOCH = "--model.queue 256 --device cpu --batch-size 32 --epochs 1 --quiet"
LEARNED = dict(queue=64, align_steps=12, align_hidden=8, ctc_weight=1.0, dropout=0.0)


def train(store, out, options):
    "The status of `carat train` on a small model."
    how = f"{SMALL} {ONE_EPOCH} {options}".split()
    return cli.main(["train", str(store), "--out", str(out), *how])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    d = tmp_path_factory.mktemp("unaligned")
    how = dict(size=120, seed=3, strength=8, steps={"t": 12, "v": 40, "a": 50})
    write_unaligned_twin(d / "twin.h5", **how)
    write_unaligned_twin(d / "gaps.h5", **how, missing=0.4)
    return d


@pytest.mark.parametrize(
    "options",
    [
        "--model.ctc-weight 0.5 --model.align-steps 12",
        "--model.align even --model.align-steps 12",
        "--model.align-steps 20 --model.align-positions all",
    ],
)
def test_trains_through_the_command_line_where_modalities_are_missing(folder, tmp_path, options):
    aligned = f"--kind aligned --model.align-hidden 8 {options}"
    assert train(folder / "gaps.h5", tmp_path / "run", aligned) == 0
    run, store = load_run(tmp_path / "run", "cpu"), Store(folder / "gaps.h5")
    assert isinstance(run.model, AlignedCARAT)
    assert ("ctc" in run.history[0]["losses"]) == ("ctc-weight" in options)
    assert 0 <= evaluate(run, store, "test")["f1"] <= 1
    found, test = predict(run, store, "test"), store["test"]
    assert np.isfinite(found.scores).all() and (found.leaned >= 0).all()
    # no label leans on a modality that is missing
    assert np.take_along_axis(test.present, found.leaned, 1).all()
    planted_hits(torch.as_tensor(found.leaned), test.y, test.extra("planted"), test.present)


def test_only_the_modality_on_the_clock_shows_its_attention(folder, tmp_path):
    options = "--kind aligned --model.align even --model.align-steps 12"
    assert train(folder / "twin.h5", tmp_path / "run", options) == 0
    figures = run_figures(load_run(tmp_path / "run", "cpu"), Store(folder / "twin.h5"))
    assert {n for n in figures if n.startswith("attention")} == {"attention_t"}


def test_native_lengths_need_no_alignment(folder, tmp_path):
    assert train(folder / "gaps.h5", tmp_path / "run", "--model.max-steps 50") == 0


def test_a_missing_modality_is_not_looked_at(folder):
    store = Store(folder / "gaps.h5")
    model = make_model("aligned", store, **SIZES, **LEARNED).eval()
    batch = store["train"].batch(range(32))
    scores = model.predict(batch).scores
    for m in MODALITIES:
        batch.x[m] = torch.where(batch.mask[m][..., None], batch.x[m], torch.full((), 1e4))
    torch.testing.assert_close(model.predict(batch).scores, scores)
    aligned, (_, counts) = model.align(batch)
    assert torch.equal(aligned.present, batch.present)
    has_text = batch.mask["t"].any(1)
    assert not counts[~has_text].any() and (counts <= batch.present[:, 1:]).all() and counts.any()


def test_ctc_term_is_a_mean_over_sequences(folder):
    "The CTC term of a batch is the mean over its sequences, so a sample without any adds nothing."
    store = Store(folder / "twin.h5")
    model = make_model("aligned", store, **SIZES, **LEARNED)
    batch = store["train"].batch(range(16))
    _, (nll, counts) = model.align(batch)
    torch.testing.assert_close(model.losses(batch)["ctc"], nll[counts].mean())


def test_the_published_order_normalises_before_it_aligns(folder):
    "Every step is normalised, padding included, and the network behind the alignment is not."
    batch = Store(folder / "twin.h5")["train"].batch(range(6))
    padded = dict(align_steps=12, align_positions="all", max_steps=60, padding="attended")
    options = dict(**SIZES, queue=64, dropout=0.0, align_hidden=8, **padded)
    model = make_model("aligned", Store(folder / "twin.h5"), norm_first=True, **options).eval()
    assert all(encoder.norm is None for encoder in model.inner.encoders.values())
    with torch.no_grad():
        for w in model.norms.parameters():
            w.add_(0.3 * torch.randn_like(w))
    aligned, _ = model.align(batch)
    for m in ("v", "a"):
        x = torch.zeros(6, 60, batch.x[m].shape[2])
        x[:, : batch.x[m].shape[1]] = batch.x[m] * batch.mask[m][..., None]
        module, everything = model.align_ctc[m], torch.ones(6, 60, dtype=torch.bool)
        by_hand, _, _ = module(model.norms[m](x), everything)
        torch.testing.assert_close(aligned.x[m], by_hand)
        assert aligned.mask[m].all()
    text = torch.zeros(6, 12, batch.x["t"].shape[2])
    text[:, : batch.x["t"].shape[1]] = batch.x["t"] * batch.mask["t"][..., None]
    torch.testing.assert_close(aligned.x["t"], model.norms["t"](text))


@pytest.mark.parametrize("norm_first", [False, True])
def test_gaps_are_not_read_in_either_order(folder, norm_first):
    store = Store(folder / "gaps.h5")
    for padding in ("masked", "attended"):
        how = dict(**SIZES, **LEARNED, norm_first=norm_first, padding=padding)
        model = make_model("aligned", store, **how).eval()
        batch = store["train"].batch(range(16))
        present, scores = batch.present, model.predict(batch).scores
        assert torch.equal(model.align(batch)[0].present, present)
        for m in MODALITIES:
            batch.x[m] = torch.where(batch.mask[m][..., None], batch.x[m], torch.full((), 1e4))
        torch.testing.assert_close(model.predict(batch).scores, scores)


def test_the_reference_preset_has_the_published_order_and_its_decay(folder):
    store = Store(folder / "twin.h5")
    model = make_model("aligned", store, preset="reference", **SIZES, queue=64, align_steps=12)
    assert model.config.norm_first and set(model.norms) == set(MODALITIES)
    for preset in ("recommended", "paper"):
        assert not make_model("aligned", store, preset=preset, **SIZES, queue=64).config.norm_first
    how = TrainConfig.preset("aligned", "reference")
    groups = {g["decayed"]: g["params"] for g in make_optimizer(model, how).param_groups}
    decayed = {id(p) for p in groups[True]}
    for norm in model.norms.values():
        assert id(norm.weight) in decayed and id(norm.bias) not in decayed


@dataclass(frozen=True)
class BareConfig(Settings):
    modalities: dict = field(default_factory=dict)
    labels: tuple = ()
    max_steps: int = 60


class Bare(Network):
    "A network that does not normalise its features."

    Config = BareConfig


def test_an_order_without_a_normalisation_is_refused():
    with pytest.raises(CaratError, match="input_norm"):
        AlignedCARAT.Config(norm_first=True, input_norm=False)
    with pytest.raises(CaratError, match="input_norm"):
        wrap(Bare).Config(norm_first=True)
    assert wrap(Bare).Config().norm_first is False


def test_export_says_that_an_alignment_cannot_be_exported(folder, tmp_path, capsys):
    even = "--kind aligned --model.align even --model.align-steps 12"
    assert train(folder / "twin.h5", tmp_path / "run", even) == 0
    assert cli.main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "x.pt2")]) == 2
    assert "alignment" in capsys.readouterr().err and not (tmp_path / "x.pt2").exists()


@pytest.mark.parametrize("kind", ["sgm", "ml_gcn"])
def test_a_network_behind_an_alignment_still_counts_its_labels(kind):
    store = few_clips(12)
    model = make_model(f"aligned-{kind}", store, preset="small", align_steps=8, align_hidden=4)
    before = {k: v.clone() for k, v in model.inner.named_buffers()}
    how = TrainConfig(epochs=1, device="cpu")
    fit(model, store, how, progress=False)
    plain = make_model(kind, store, preset="small")
    fit(plain, store, how, progress=False)
    after = dict(model.inner.named_buffers())
    assert any(not torch.equal(v, after[k]) for k, v in before.items())
    assert all(torch.equal(v, after[k]) for k, v in plain.named_buffers())
