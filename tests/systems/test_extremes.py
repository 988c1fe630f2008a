"Data at the edge of what a data set may be: training ends with finite weights, losses and scores."

import numpy as np
import pytest
import torch

from carat.data.memory import MemoryStore
from carat.train import TrainConfig, fit, make_model, predict

WIDTHS, LABELS = {"t": 6, "v": 3, "a": 4}, ("joy", "fear", "anger")
SMALL = dict(layers=(1, 1, 1), d=16, d_z=8, d_h=8, heads=2, ff=16, queue=64, dropout=0.1)


def usual(rng, n):
    "Lengths (n,) per modality and truth (n, C)."
    lengths = {m: rng.integers(1, 6, n) for m in WIDTHS}
    y = (rng.random((n, 3)) < 0.4).astype("f4")
    y[:2] = [[1, 0, 1], [0, 1, 0]]
    return lengths, y


def lacking(*modalities, among=slice(None), splits=("train", "valid", "test")):
    def change(split, lengths, y):
        for m in modalities if split in splits else ():
            lengths[m][among] = 0

    return change


def long(split, lengths, y):
    lengths["t"][0] = 500
    lengths["v"][0] = lengths["a"][0] = 1


def truth(value, label=slice(None)):
    def change(split, lengths, y):
        y[:, label] = value

    return change


STORES = {  # name -> samples in train, and a change of what is usual
    "one word each": (17, lambda split, lengths, y: [n.fill(1) for n in lengths.values()]),
    "500 words and 1": (17, long),
    "a modality is nowhere": (17, lacking("v")),
    "text is nowhere": (17, lacking("t")),
    "a modality is missing in train only": (17, lacking("a", splits=("train",))),
    "some samples have no modality": (17, lacking("t", "v", "a", among=slice(0, None, 3))),
    "no sample has a modality": (17, lacking("t", "v", "a")),
    "no positives": (17, truth(0)),
    "all positives": (17, truth(1)),
    "a label never occurs": (17, truth(0, label=1)),
    "one sample, alone in its batch": (1, lambda split, lengths, y: None),
}


def made(name):
    n, change = STORES[name]
    rng, splits = np.random.default_rng(0), {}
    for split, size in (("train", n), ("valid", 5), ("test", 5)):
        lengths, y = usual(rng, max(size, 2))
        lengths, y = {m: v[:size] for m, v in lengths.items()}, y[:size]
        change(split, lengths, y)
        x = {
            m: (rng.normal(size=(lengths[m].sum(), d)).astype("f4"), lengths[m])
            for m, d in WIDTHS.items()
        }
        splits[split] = dict(id=[f"{split} {i}" for i in range(size)], x=x, y=y)
    return MemoryStore(name, LABELS, WIDTHS, splits)


@pytest.mark.parametrize(
    "kind, preset",
    [("carat", "paper"), ("carat", "recommended"), ("carat", "reference"), ("aligned", None)],
)
@pytest.mark.parametrize("name", STORES)
def test_training_stays_finite(name, kind, preset):
    store = made(name)
    model = make_model(kind, store, preset=preset, **SMALL)
    how = TrainConfig(epochs=2, batch_size=16, lr=1e-3, device="cpu")  # 17 leave a batch of one
    done = fit(model, store, how, progress=False)
    assert all(np.isfinite(v) for r in done.history for v in r["losses"].values())
    assert all(
        v.isfinite().all() for v in done.model.state_dict().values() if v.is_floating_point()
    )
    scores = predict(done, store, "test").scores
    assert np.isfinite(scores).all() and ((scores >= 0) & (scores <= 1)).all()


def test_two_threads_compute_what_one_does():
    store, how = made("one word each"), TrainConfig(epochs=1, batch_size=16, lr=1e-3, device="cpu")
    before, found = torch.get_num_threads(), {}
    try:
        for run, threads in enumerate((1, 2, 2)):
            torch.set_num_threads(threads)
            model = make_model("carat", store, **SMALL)
            found[run] = fit(model, store, how, progress=False).model.state_dict()
    finally:
        torch.set_num_threads(before)
    for k, v in found[1].items():
        assert torch.equal(v, found[2][k]), k
        torch.testing.assert_close(v, found[0][k], rtol=0, atol=1e-5)
