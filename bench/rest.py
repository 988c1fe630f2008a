"""Record what the rest of the video is worth to logistic regression on real MOSEI.

    python bench/real.py FOLDER --out mosei.h5
    python bench/rest.py mosei.h5 --out results/rest_mosei.json

Mean-pooled text alone is compared with mean-pooled text and the rest of the video, also of text.
On train, every video is scored by a system that was fitted without it and without a fifth of the
other videos, and its threshold comes from the videos of the other fifths. On valid, the system is
fitted on all of train, and its threshold is the one that is best for the scores on train.
Chapter 19 shows these numbers.
"""

import argparse
import json
import platform
from pathlib import Path

import numpy as np
import torch

import carat
from carat.core import write_whole
from carat.data.rest import REST, step_means, videos_of, with_rest
from carat.data.store import Store
from carat.metrics import choose, choose_threshold
from carat.study.statistics import interval
from carat.study.studies import Judged
from carat.systems.br import BR, BRConfig, log_odds

FOLDS = 5
PENALTIES = (0.01, 0.001)  # values of C
ROWS = {"text": ("t",), "text_rest": ("t", REST)}


def features(split, modalities):  # (N, D)
    "Pooled features as BR reads them: the mean of each modality, and whether it is there."
    means = [step_means(split, m) for m in modalities]
    return np.concatenate([*(v for v, _ in means), *(here[:, None] for _, here in means)], 1)


def scores(C, X, y, new):  # (N, C) float32
    "What BR says of new samples."
    solved = BR(BRConfig({"x": X.shape[1]}, ("label",), C=C)).solve(X, y > 0)
    return log_odds(solved, torch.from_numpy(new)).sigmoid().numpy().astype(np.float32)


def judged(split, found, threshold):
    "Scores with the chosen labels, as the statistics take them."
    chosen = choose(found, threshold) if np.ndim(threshold) == 0 else found > threshold
    video, labels = split.extra("video").astype(str), np.array(split.labels)
    return Judged(split.id, found, split.y, chosen, video, labels, split.name)


def on_train(split, modalities, C, fold):
    "Scores of held-out videos, and the threshold of each sample from the other folds."
    X, y = features(split, modalities), split.y
    found, threshold = np.zeros(y.shape, np.float32), np.zeros((len(y), 1))
    for k in range(FOLDS):
        found[fold == k] = scores(C, X[fold != k], y[fold != k], X[fold == k])
    for k in range(FOLDS):
        threshold[fold == k] = choose_threshold(y[fold != k], found[fold != k])
    return found, threshold


def about(run):
    return {k: run.metrics()[k] for k in ("f1", "map")}


def compared(runs):
    "Both rows and their difference in micro-F1, paired, with videos as groups."
    gain = interval([runs["text_rest"]], [runs["text"]])
    difference = dict(value=gain.value, low=gain.low, high=gain.high)
    return dict({row: about(run) for row, run in runs.items()}, difference=difference)


def found_with(C, train, valid, fold):
    "Everything for one strength of the penalty."
    cross, later = {}, {}
    for row, modalities in ROWS.items():
        said, threshold = on_train(train, modalities, C, fold)
        cross[row] = judged(train, said, threshold)
        new = scores(C, features(train, modalities), train.y, features(valid, modalities))
        later[row] = judged(valid, new, choose_threshold(train.y, said))
    return dict(C=C, train=compared(cross), valid=compared(later))


def recorded(path):
    data = with_rest(Store(path), ["t"])
    train, valid = data["train"], data["valid"]
    video = videos_of(train)
    fold = np.random.default_rng(0).integers(0, FOLDS, video.max() + 1)[video]
    return dict(
        format=1,
        title="what the rest of the video is worth to logistic regression on real MOSEI",
        data=dict(name=data.name, splits=dict(train=len(train), valid=len(valid))),
        versions=dict(
            carat=carat.__version__, python=platform.python_version(), numpy=np.__version__
        ),
        folds=FOLDS,
        alone={s.name: float((s.lengths[REST] == 0).mean()) for s in (train, valid)},
        found=[found_with(C, train, valid, fold) for C in PENALTIES],
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path, help="made by bench/real.py")
    parser.add_argument("--out", type=Path, required=True, help="the record to write")
    a = parser.parse_args()
    write_whole(a.out, json.dumps(recorded(a.store), indent=1) + "\n")
    print(a.out)


if __name__ == "__main__":
    main()
