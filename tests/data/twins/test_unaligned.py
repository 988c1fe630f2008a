"The unaligned twin from outside: its clocks agree in its store, and memory and disk hold the same."

import json

import bits
import numpy as np
import pytest
import torch

from carat.core import CaratError
from carat.data.benchmarks import LABELS, MODALITIES
from carat.data.store import Store, check_store
from carat.data.twins.oracle import oracle
from carat.data.twins.unaligned import make_unaligned_twin, word_times, write_unaligned_twin

STEPS = {"t": 12, "v": 40, "a": 50}
HOW = dict(size=120, seed=3, strength=8, steps=STEPS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    d = tmp_path_factory.mktemp("unaligned")
    write_unaligned_twin(d / "twin.h5", **HOW)
    return d


def test_store(folder):
    store = Store(folder / "twin.h5")
    check_store(store.path)
    assert store.name == "synthetic twin of MOSEI, unaligned" and bool(store.attrs["synthetic"])
    assert store.labels == LABELS and store.modalities == MODALITIES
    for name in store.splits:
        s = store[name]
        for m, most in STEPS.items():
            assert 1 <= s.lengths[m].min() and s.lengths[m].max() <= most
        assert not s.extra("planted")[s.y == 0].any()
        assert (s.extra("planted") == (s.extra("start") >= 0)).all()
    with pytest.raises(CaratError, match="no oracle"):
        oracle(store["test"])


def test_planted_times_agree_across_clocks(folder):
    store = Store(folder / "twin.h5")
    rates, s = json.loads(store.attrs["rates"]), store["train"]
    start, onset, pairs = s.extra("start"), s.extra("onset"), 0
    for k, m in ((1, "v"), (2, "a")):
        on = start[..., k] >= 0
        off = np.abs(start[..., k] / rates[m] - onset[..., k])[on & (start[..., k] > 0)]
        assert off.max() <= 0.5 / rates[m] + 1e-5  # rounded to a frame
        both = on & (start[..., 0] >= 0)
        assert np.abs(onset[..., 0] - onset[..., k])[both].max() <= 0.15 + 1e-5
        pairs += both.sum()
        assert (onset[..., k][~on] == -1).all()
        assert (start[..., k][on] < np.broadcast_to(s.lengths[m][:, None], on.shape)[on]).all()
    assert pairs > 10


def test_one_seed_one_twin(folder, tmp_path):
    disk, again = Store(folder / "twin.h5"), Store(write_unaligned_twin(tmp_path / "2.h5", **HOW))
    memory = make_unaligned_twin(**HOW)
    assert memory.name == disk.name and memory.attrs["rates"] == disk.attrs["rates"]
    a, b, c = (data["valid"].batch(range(8)) for data in (disk, again, memory))
    assert all(torch.equal(a.x[m], b.x[m]) and torch.equal(a.x[m], c.x[m]) for m in MODALITIES)
    for k in ("planted", "start", "video"):
        assert (memory["test"].extra(k) == disk["test"].extra(k)).all()
    with pytest.raises(CaratError, match="exists"):
        write_unaligned_twin(tmp_path / "2.h5", size=120)


def test_same_seed_same_bits_whatever_the_threads():
    code = "import bits; from carat.data.twins.unaligned import make_unaligned_twin; "
    code += "print(bits.of_features(make_unaligned_twin(60, seed=3)))"
    assert bits.with_two_threads(code) == bits.of_features(make_unaligned_twin(60, seed=3))


def test_same_seed_same_clips_as_in_the_first_edition():
    twin, found = make_unaligned_twin(200, seed=6, missing=0.2), []
    for s in (twin[k] for k in bits.SPLITS):
        extras = [s.extra(k) for k in ("events", "frames", "planted", "start")]
        found += [s.y, *s.lengths.values(), *extras]
    assert bits.digest(v.astype(np.int64) for v in found) == FIRST_EDITION


FIRST_EDITION = "91a71f7d22830064a271e4e5904a33d0d1ebe709c315d8857b9778970da6451e"


def test_words_follow_each_other():
    s = make_unaligned_twin(60, seed=3)["train"]
    for i in range(len(s)):
        edges = word_times(s, i)
        assert (np.diff(edges) > 0).all() and edges[-1] < s.extra("seconds")[i]
        assert min(50, len(edges) - 1) == s.lengths["t"][i]
