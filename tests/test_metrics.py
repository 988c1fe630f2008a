"Metrics and thresholds where a plausible mistake would go unnoticed elsewhere."

import json

import numpy as np
import pytest
import torch

from carat.core import CaratError
from carat.metrics import (
    METRICS,
    as_threshold,
    best_constant_set,
    choose,
    choose_threshold,
    choose_thresholds,
    label_ap,
    label_f1,
    mean_jaccard,
    micro_scores,
    multilabel_metrics,
    trivial_predictors,
)


def example(n=400, C=4, seed=7):
    "Truth with labels from frequent to rare, and scores that know something about it."
    rng = np.random.default_rng(seed)
    y = rng.random((n, C)) < np.array([0.5, 0.3, 0.1, 0.05][:C])
    return y, 1 / (1 + np.exp(-rng.normal(2.0 * y - 1.5)))


def test_threshold_with_a_negative_on_top():
    y, scores = np.array([[0, 1, 1, 0]]), np.array([[0.9, 0.8, 0.7, 0.1]])
    threshold = choose_threshold(y, scores)
    assert choose(scores, threshold).tolist() == [[True, True, True, False]]
    assert threshold == pytest.approx(0.4)  # half way to the next score
    assert choose_thresholds(y.T, scores.T) == [threshold]


@pytest.mark.parametrize("seed", range(4))
def test_no_threshold_has_a_better_f1(seed):
    y, scores = example(60, seed=seed)
    cuts = [0, *np.unique(scores)]
    best = max(micro_scores(y, scores > cut)[2] for cut in cuts)
    assert micro_scores(y, choose(scores, choose_threshold(y, scores)))[2] == best
    for c, threshold in enumerate(choose_thresholds(y, scores)):
        best = max(micro_scores(y[:, [c]], scores[:, [c]] > cut)[2] for cut in cuts)
        assert micro_scores(y[:, [c]], scores[:, [c]] > threshold)[2] == best


def test_threshold_of_a_split_without_positives_chooses_nothing():
    _, scores = example()
    nothing = np.zeros(scores.shape)
    assert not choose(scores, choose_threshold(nothing, scores)).any()
    assert not choose(scores, choose_thresholds(nothing, scores)).any()


def test_of_equally_good_cuts_the_highest():
    y, scores = np.array([[1, 0, 1, 0, 0, 0]]), np.array([[0.9, 0.8, 0.7, 0.6, 0.5, 0.4]])
    y[0, 2] = 0  # F1 1 at the first cut
    assert choose_threshold(y, scores) == pytest.approx(0.85)
    y = np.array([[1, 0, 0, 1]])  # F1 2/3 at the first cut and at the last
    assert choose_threshold(y, scores[:, :4]) == pytest.approx(0.85)


def test_a_threshold_stays_from_0_to_1():
    for scores in ([[1e-9, 0.5]], [[0.0, 1.0]], [[0.0, 0.0]], [[1.0, 1.0]], [[0.3, 0.3]]):
        for y in ([[1, 1]], [[1, 0]], [[0, 1]], [[0, 0]]):
            threshold = choose_threshold(y, scores)
            assert as_threshold(threshold) == threshold
            if y == [[1, 1]]:  # everything but a score of 0
                assert np.array_equal(choose(scores, threshold), np.array(scores) > 0)


def test_a_score_of_0_cannot_be_counted_on():
    y, scores = np.array([[1, 0, 1, 1, 1]]), np.array([[0.9, 0.5, 0.0, 0.0, 0.0]])
    assert choose(scores, choose_threshold(y, scores)).tolist() == [[True] + [False] * 4]


def test_equal_scores_stay_together_and_float_neighbours_apart():
    assert choose_threshold([[1, 0, 0]], [[0.5, 0.5, 0.1]]) == pytest.approx(0.3)
    low = 0.3
    for _ in range(4):  # half of the middles round up
        high = np.nextafter(low, 1)
        pair = np.array([[low, high]])
        assert choose(pair, choose_threshold([[0, 1]], pair)).tolist() == [[False, True]]
        low = high


@pytest.mark.parametrize("choice", [choose_threshold, choose_thresholds])
def test_thresholds_refuse_what_they_cannot_use(choice):
    y, scores = example()
    with pytest.raises(CaratError, match="without samples"):
        choice(y[:0], scores[:0])
    for logits in (scores - 0.5, scores + 0.5):
        with pytest.raises(CaratError, match="give probabilities, not logits"):
            choice(y, logits)
    with pytest.raises(CaratError, match="must be finite"):
        choice(y, np.where(scores > 0.5, np.nan, scores))


@pytest.mark.parametrize(
    "wrong", [-0.1, 1.1, np.nan, np.inf, "0.5", None, True, {}, [], [[0.5]], [0.5, [0.5]], 10**400]
)
def test_what_is_no_threshold_is_refused(wrong):
    y, scores = example()
    for use in (
        as_threshold,
        lambda t: choose(scores, t),
        lambda t: multilabel_metrics(y, scores, t),
    ):
        with pytest.raises(CaratError, match="a number from 0 to 1"):
            use(wrong)


def test_one_threshold_for_each_label():
    y, scores = example()
    cuts = [0.2, 0.4, 0.6, 0.8]
    for form in (cuts, tuple(cuts), np.array(cuts), torch.tensor(cuts, dtype=torch.float64)):
        assert np.array_equal(choose(scores, form), scores > np.array(cuts))
        assert as_threshold(form, 4) == cuts
    found = multilabel_metrics(y, scores, np.array(cuts))
    assert json.loads(json.dumps(found)) == found and found["threshold"] == cuts
    assert multilabel_metrics(y, scores, [0.5] * 4) | {"threshold": 0.5} == multilabel_metrics(
        y, scores, 0.5
    )
    with pytest.raises(CaratError, match="3 thresholds for 4 labels"):
        choose(scores, cuts[:3])


def test_thresholds_of_each_label_are_that_labels_own():
    y, scores = example()
    thresholds = choose_thresholds(y, scores)
    for c in range(4):
        assert thresholds[c] == choose_threshold(y[:, [c]], scores[:, [c]])
    order = [2, 0, 3, 1]
    assert choose_thresholds(y[:, order], scores[:, order]) == [thresholds[c] for c in order]
    shared = label_f1(y, choose(scores, choose_threshold(y, scores)))
    assert (label_f1(y, choose(scores, thresholds)) >= shared).all()
    json.dumps(thresholds)


def test_every_number_of_multilabel_metrics():
    y, scores = example()
    found = multilabel_metrics(y, scores, 0.3)
    p = scores > 0.3
    assert found["threshold"] == 0.3 and found["samples"] == 400
    assert (found["p"], found["r"], found["f1"]) == micro_scores(y, p)
    assert found["acc"] == mean_jaccard(y, p)
    assert found["map"] == pytest.approx(np.mean(label_ap(y, scores)))
    assert found["macro_f1"] == pytest.approx(np.mean(label_f1(y, p)))
    assert list(found["label_f1"].values()) == label_f1(y, p).tolist()
    assert list(found["label_ap"].values()) == label_ap(y, scores).tolist()
    assert found["f1"] != multilabel_metrics(y, scores)["f1"]
    assert multilabel_metrics(y, scores) == multilabel_metrics(y, scores, 0.5)  # the default
    assert all(0 <= found[key] <= 1 for key in METRICS)


def test_nothing_chosen_and_nothing_there_scores_0():
    nothing = np.zeros((3, 2))
    assert micro_scores(nothing, nothing) == (0, 0, 0)
    assert mean_jaccard(nothing, nothing) == mean_jaccard(nothing[:0], nothing[:0]) == 0
    assert label_f1(nothing, nothing).tolist() == [0, 0]


def test_a_label_without_positives_has_average_precision_0():
    y, scores = example()
    y[:, 2] = False
    assert label_ap(y, scores)[2] == 0
    assert (label_ap(y, scores)[[0, 1, 3]] > 0).all()


def test_tensors_with_a_gradient_and_in_half_precision():
    y, scores = example()
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        tensor = torch.tensor(scores, dtype=dtype, requires_grad=True)
        plain = tensor.detach().double().numpy()
        assert multilabel_metrics(torch.tensor(y), tensor) == multilabel_metrics(y, plain)
        assert choose_threshold(torch.tensor(y), tensor) == choose_threshold(y, plain)


def test_what_is_reached_without_looking():
    y, _ = example(4000)
    found = trivial_predictors(y, y, "abcd")
    drawn = found["drawn with prior probability"]
    assert drawn["p"] == pytest.approx((y.mean(0) ** 2).sum() / y.mean(0).sum(), abs=0.02)
    assert drawn["r"] == pytest.approx(drawn["p"], abs=0.02)
    assert drawn["f1"] > 0.2
    assert found["always {b}"]["label_f1"]["b"] == pytest.approx(
        2 * y[:, 1].sum() / (4000 + y[:, 1].sum())
    )
    assert found["always every label"]["r"] == 1
    best = ", ".join(c for c, used in zip("abcd", best_constant_set(y), strict=True) if used)
    assert found[f"best constant set {{{best}}}"]["f1"] == max(
        m["f1"] for name, m in found.items() if name.startswith("always") or "best" in name
    )
    assert trivial_predictors(y, y, "abcd", seed=1) != found
