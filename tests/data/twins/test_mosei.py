"The synthetic twin from outside: what a store of it promises, on any number of threads."

import bits
import numpy as np
import pytest
import torch

from carat.core import CaratError
from carat.data.benchmarks import COUNTS, LABELS, MODALITIES
from carat.data.memory import MemoryStore
from carat.data.store import Store, check_store
from carat.data.twins.mosei import RELEVANCE, World, make_twin, plan_twin, twin_samples, write_twin
from carat.train import TrainConfig, evaluate, fit, make_model


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(write_twin(tmp_path_factory.mktemp("twin") / "twin.h5", size=400, seed=7))


def test_store_is_valid_and_says_that_it_is_synthetic(store):
    check_store(store.path)
    assert store.labels == LABELS and store.modalities == MODALITIES
    assert sum(store.splits.values()) == 400
    assert "synthetic" in store.name and bool(store.attrs["synthetic"])
    assert int(store.attrs["seed"]) == 7


def test_aligned_and_at_most_60_steps(store):
    for name in store.splits:
        L = store[name].lengths
        assert all((L[m] == L["t"]).all() for m in MODALITIES)
        assert L["t"].min() >= 1 and L["t"].max() <= 60


def test_planted_only_where_the_label_is(store):
    for name in store.splits:
        s = store[name]
        planted, start = s.extra("planted"), s.extra("start")
        assert not planted[s.y == 0].any() and (planted == (start >= 0)).all()
        ends = start + World().widths[None]
        last = np.broadcast_to(s.lengths["t"][:, None, None], planted.shape) - 1
        assert (ends[planted] <= last[planted]).all() and (start[planted] >= 1).all()


def test_clips_of_a_video_share_a_speaker(store):
    s = store["train"]
    assert all(i.startswith(v + "[") for i, v in zip(s.id, s.extra("video"), strict=True))
    split = make_twin(400, seed=7)["train"]
    video, shift = split.extra("video"), split.extra("shift")  # (N,), (N, M, K)
    same = video[1:] == video[:-1]
    for k in range(len(MODALITIES)):
        step = np.abs(np.diff(shift[:, k], axis=0)).max(1)
        assert (step[same] == 0).all() and (step[~same] > 0).all()


def test_memory_and_disk_hold_the_same(store):
    memory, disk = make_twin(400, seed=7), store
    assert isinstance(memory, MemoryStore)
    assert memory.attrs["world"] == disk.attrs["world"] and memory.name == disk.name
    memory, disk = memory["test"], disk["test"]
    a, b = memory.batch(range(30)), disk.batch(range(30))
    for m in MODALITIES:
        assert torch.equal(a.x[m].float(), b.x[m].float()) and torch.equal(a.mask[m], b.mask[m])
    assert torch.equal(a.y.float(), b.y.float()) and list(a.id) == list(b.id)
    assert all((memory.extra(k) == disk.extra(k)).all() for k in disk.extras)
    assert twin_samples(400, seed=7, split="test")[3]["id"] == b.id[3]


def test_trains_in_memory_as_from_a_file(store):
    small = dict(layers=(1, 1, 1), d=16, d_z=8, d_h=8, heads=2, ff=16, queue=64)
    how = TrainConfig(epochs=1, batch_size=64, device="cpu")
    found = []
    for data in (make_twin(400, seed=7), store):
        run = fit(make_model("carat", data, seed=1, **small), data, how, progress=False)
        found.append(evaluate(run, data, "test"))
    assert found[0] == found[1]


def test_same_seed_same_bits_whatever_the_threads():
    code = "import bits; from carat.data.twins.mosei import make_twin; print(bits.of_features("
    assert bits.with_two_threads(code + "make_twin(60, seed=3)))") == bits.of_features(
        make_twin(60, seed=3)
    )


def test_same_seed_same_clips_as_in_the_first_edition():
    assert bits.of_truth(make_twin(300, seed=5, missing=0.2)) == FIRST_EDITION


FIRST_EDITION = "91877e0ed79db96af200a3dcae605e2e2a95579dcfc13fe191383c1144aa3aa9"


def test_missing_modalities(tmp_path):
    s = Store(write_twin(tmp_path / "gaps.h5", size=200, seed=1, missing=0.4))["train"]
    whole = make_twin(200, seed=1)["train"]
    assert s.present.any(1).all() and 0.2 < 1 - s.present.mean() < 0.5
    assert (s.extra("planted") == whole.extra("planted") & s.present[:, None]).all()


def test_full_size_is_mosei_count_by_count():
    for split, plan in plan_twin(22856, seed=11).items():
        sets = np.bincount(plan.y @ (1 << np.arange(5, -1, -1)), minlength=64)
        assert (sets == COUNTS[split]["sets"]).all()
        assert (np.bincount(plan.lengths, minlength=61)[1:] == COUNTS[split]["words"]).all()
        assert len(np.unique(plan.video)) == COUNTS[split]["videos"][1].sum()


def test_bad_input(tmp_path):
    with pytest.raises(CaratError, match="at least 13"):
        write_twin(tmp_path / "x.h5", size=3)
    with pytest.raises(CaratError, match="seed"):
        plan_twin(100, seed=-1)
    with pytest.raises(CaratError, match="missing"):
        make_twin(100, missing=1.5)
    with pytest.raises(CaratError, match="rho lacks"):
        World(rho={"t": 0.3})
    assert not list(tmp_path.iterdir())
    assert RELEVANCE.shape == (6, 3)
