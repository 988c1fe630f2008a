"Figures of arrays as runs have them: any number of labels, modalities, samples and steps."

import io
import re
import warnings

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import multilabel_confusion_matrix

from carat import plots

SIZES = {  # labels, modalities, samples
    "CARAT on MOSEI": (("happy", "sad", "anger", "surprise", "disgust", "fear"), "tva", 300),
    "M3ED": (("Happy", "Neutral", "Sad", "Disgust", "Anger", "Fear", "Surprise"), "tva", 90),
    "one label, one modality": (("laughter",), ("pulse",), 40),
    "many of both": (tuple(f"label {i}" for i in range(15)), ("text", "eeg", "gsr", "audio"), 200),
}


def arrays(labels, modalities, n, kind=np.asarray):
    "A run's arrays of one size: truth, scores, decisions, the modality of each label."
    rng = np.random.default_rng(0)
    C, M = len(labels), len(modalities)
    y, scores = (rng.random((n, C)) < 0.3).astype(np.float32), rng.random((n, C), np.float32)
    leaned, Z = rng.integers(-1, M, (n, C)), rng.normal(size=(n, M, C, 4)).astype(np.float32)
    return [kind(v) for v in (y, scores, scores > 0.6, leaned, Z)]


def drawn(labels, modalities, n, kind=np.asarray):
    y, scores, chosen, leaned, Z = arrays(labels, modalities, n, kind)
    yield plots.reliability(y, scores, labels)
    yield plots.reliability(y, scores, labels, bins=4, pooled=True)
    yield plots.confused_pairs(y, chosen, labels)
    yield plots.relevance(leaned, y, labels, modalities)
    yield plots.relevance_samples(leaned, y, labels, modalities, n=20)
    yield plots.latent_map(Z, y, labels, modalities, per_class=3)
    yield plots.attention_words(scores[:7], None, labels, y=y[0], scores=scores[0])


@pytest.mark.parametrize(
    "size", [pytest.param(s, marks=pytest.mark.slow) if s == "many of both" else s for s in SIZES]
)
def test_every_figure_takes_every_size(size):
    plots.use_style()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module="sklearn")
        for fig in drawn(*SIZES[size]):
            assert isinstance(fig, Figure)
            shown = plots.show(fig, alt="A figure of one size.")
            assert shown.png()[1:4] == b"PNG" and "NaN" not in shown.svg()


def test_a_tensor_gives_the_same_figure_as_its_array():
    size = SIZES["CARAT on MOSEI"]
    for one, other in zip(drawn(*size), drawn(*size, kind=torch.as_tensor), strict=True):
        assert plots.show(one, alt="same").svg() == plots.show(other, alt="same").svg()


def test_the_curve_is_that_of_scikit_learn():
    y, scores, *_ = arrays(*SIZES["CARAT on MOSEI"])
    r = plots.reliability_bins(y, scores, bins=8)
    share, score = calibration_curve(y.ravel(), scores.ravel(), n_bins=8)
    np.testing.assert_allclose(r["share"], share, atol=1e-6)
    np.testing.assert_allclose(r["score"], score, atol=1e-6)
    assert r["n"].sum() == y.size


def test_scores_at_the_ends_have_bins():
    r = plots.reliability_bins([1, 0, 1], [1.0, 0.0, 0.5], bins=2)
    assert r["n"].tolist() == [1, 2] and r["share"].tolist() == [0, 1]
    assert r["error"] == pytest.approx((0 + 2 * 0.25) / 3)


def test_the_counts_of_confusion_agree_with_those_of_single_labels():
    y, _, chosen, *_ = arrays(*SIZES["M3ED"])
    counts = plots.confusion_counts(y, chosen)
    single = multilabel_confusion_matrix(y, chosen)
    missed, wrong = single[:, 1, 0], single[:, 0, 1]
    assert (counts[:-1].max(1) <= missed).all() and (counts[:-1].sum(1) >= missed).all()
    assert (counts[:, :-1].max(0) <= wrong).all() and (counts[:, :-1].sum(0) >= wrong).all()


def test_one_swapped_pair_stands_in_one_tile():
    y = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    chosen = np.array([[1, 0, 0], [0, 0, 1], [0, 0, 1]])
    expected = np.zeros((4, 4), int)
    expected[1, 2], expected[3, 3] = 1, 2
    np.testing.assert_array_equal(plots.confusion_counts(y, chosen), expected)


def words_of(fig):
    "The text of a figure as its author wrote it."
    return {text.get_text() for text in fig.findobj(lambda a: hasattr(a, "get_text"))}


def test_confused_pairs_names_rows_with_their_counts():
    fig = plots.confused_pairs([[1, 0], [1, 0]], [[0, 1], [1, 0]], ["happy", "sad"])
    assert {"happy  (1 of 2)", "sad  (0 of 0)", "nothing  (1 of 2)"} <= words_of(fig)


def test_reliability_names_labels_with_their_errors():
    fig = plots.reliability([[1, 0], [1, 0]], [[0.9, 0.4], [0.9, 0.4]], ["happy", "sad"])
    assert {"all labels: error 0.25", "happy: error 0.10", "sad: error 0.40"} <= words_of(fig)


@pytest.mark.parametrize(
    "history",
    [
        [{"epoch": 1, "losses": {}, "valid": {"f1": 0.4, "label_f1": {"happy": 0.2}}}],
        [{"epoch": 1, "losses": {"loss": 2.0}, "valid": {}}],
        [{"epoch": i, "losses": {"loss": float("nan")}, "valid": {"f1": 0.4}} for i in (1, 2)],
        [{"epoch": 1, "losses": None, "valid": {"map": 0.4}, "loss": 3.0}],
    ],
)
def test_a_history_without_losses_or_metrics_is_drawn_as_far_as_it_goes(history):
    plots.history(history).savefig(io.BytesIO(), format="png")


def test_the_best_epoch_is_marked():
    records = [
        {"epoch": i, "losses": {"loss": 1.0}, "valid": {"f1": f}}
        for i, f in ((1, 0.2), (2, 0.5), (3, 0.4))
    ]
    assert any(
        re.search(r"best micro-F1 0.500, epoch 2", t) for t in words_of(plots.history(records))
    )
