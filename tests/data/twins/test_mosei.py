"The synthetic twin from outside: what a store of it promises, at any size, on any number of threads."

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from carat.core import CaratError
from carat.data.store import Store, check_store
from carat.data.twins.mosei import (
    COUNTS,
    LABELS,
    MODALITIES,
    RELEVANCE,
    World,
    make_twin,
    oracle,
    oracle_scores,
    plan_twin,
    twin_samples,
    write_twin,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(write_twin(tmp_path_factory.mktemp("twin") / "twin.h5", size=400, seed=7))


def test_store_is_valid_and_says_that_it_is_synthetic(store):
    check_store(store.path)
    assert (
        store.labels == LABELS
        and store.modalities == MODALITIES
        and sum(store.splits.values()) == 400
    )
    assert (
        "synthetic" in store.name
        and bool(store.attrs["synthetic"])
        and int(store.attrs["seed"]) == 7
    )


def test_aligned_and_at_most_60_steps(store):
    for name in store.splits:
        L = store[name].lengths
        assert (
            all((L[m] == L["t"]).all() for m in MODALITIES)
            and L["t"].min() >= 1
            and L["t"].max() <= 60
        )


def test_planted_only_where_the_label_is(store):
    for name in store.splits:
        s = store[name]
        planted, start = s.extra("planted"), s.extra("start")
        assert not planted[s.y == 0].any() and (planted == (start >= 0)).all()
        ends = start + World().widths[None]
        assert (
            ends[planted]
            <= np.broadcast_to(s.lengths["t"][:, None, None], planted.shape)[planted] - 1
        ).all() and (start[planted] >= 1).all()


def test_clips_of_a_video_share_a_speaker(store):
    s = store["train"]
    assert all(i.startswith(v + "[") for i, v in zip(s.id, s.extra("video")))
    split = make_twin(400, seed=7)["train"]
    same = split.video[1:] == split.video[:-1]
    for shift in split.shift.values():
        step = np.abs(np.diff(shift, axis=0)).max(1)
        assert (step[same] == 0).all() and (step[~same] > 0).all()


def test_memory_and_disk_hold_the_same(store):
    memory, disk = make_twin(400, seed=7)["test"], store["test"]
    a, b = memory.batch(range(30)), disk.batch(range(30))
    for m in MODALITIES:
        assert torch.equal(a.x[m].float(), b.x[m].float()) and torch.equal(a.mask[m], b.mask[m])
    assert torch.equal(a.y.float(), b.y.float()) and list(a.id) == list(b.id)
    np.testing.assert_allclose(oracle_scores(memory), oracle_scores(disk), rtol=1e-9)
    assert twin_samples(400, seed=7, split="test")[3]["id"] == b.id[3]


def test_same_seed_same_bits_whatever_the_threads():
    code = (
        "import hashlib; from carat.data.twins.mosei import make_twin; t = make_twin(60, seed=3);"
        "print(hashlib.sha256(b''.join(t[s].values[m].tobytes() for s in t for m in 'tva')).hexdigest())"
    )
    from carat.data.twins import mosei as synthetic
    import os

    root = os.path.dirname(os.path.dirname(synthetic.__file__))
    env = lambda n: {
        **os.environ,
        "OMP_NUM_THREADS": n,
        "OPENBLAS_NUM_THREADS": n,
        "MKL_NUM_THREADS": n,
        "PYTHONPATH": root,
    }
    other = subprocess.run(
        [sys.executable, "-c", code], env=env("2"), capture_output=True, text=True, check=True
    ).stdout.strip()
    t = make_twin(60, seed=3)
    here = hashlib.sha256(b"".join(t[s].values[m].tobytes() for s in t for m in "tva")).hexdigest()
    assert here == other


def test_missing_modalities(tmp_path):
    s = Store(write_twin(tmp_path / "gaps.h5", size=200, seed=1, missing=0.4))["train"]
    whole = make_twin(200, seed=1)["train"]
    assert s.present.any(1).all() and 0.2 < 1 - s.present.mean() < 0.5
    assert (s.extra("planted") == whole.planted & s.present[:, None]).all()
    o = oracle(s)
    assert np.isfinite(o.scores).all() and (o.shows.transpose(0, 2, 1)[~s.present] == 0).all()


def test_full_size_is_mosei_count_by_count():
    for split, plan in plan_twin(22856, seed=11).items():
        assert (
            np.bincount(plan.y @ (1 << np.arange(5, -1, -1)), minlength=64) == COUNTS[split]["sets"]
        ).all()
        assert (np.bincount(plan.lengths, minlength=61)[1:] == COUNTS[split]["words"]).all()
        assert len(np.unique(plan.video)) == COUNTS[split]["videos"][1].sum()


def test_another_world_travels_with_its_store(tmp_path):
    world = World(seed=4, strength=8.0, relevance=np.clip(RELEVANCE + 0.1, 0, 0.9))
    s = Store(write_twin(tmp_path / "w.h5", size=100, world=world))["test"]
    told, asked = oracle_scores(s, world), oracle_scores(s)
    np.testing.assert_array_equal(told, asked)
    assert np.abs(asked - oracle_scores(s, World())).max() > 0.1  # the wrong world knows less


def test_bad_input(tmp_path):
    with pytest.raises(CaratError, match="at least 13"):
        write_twin(tmp_path / "x.h5", size=3)
    with pytest.raises(CaratError, match="seed"):
        plan_twin(100, seed=-1)
    with pytest.raises(CaratError, match="missing"):
        make_twin(100, missing=1.5)
    with pytest.raises(CaratError, match="prior"):
        oracle(make_twin(20)["test"], prior="dev")
    with pytest.raises(CaratError, match="no oracle"):
        oracle_scores([1, 2])
    assert not list(tmp_path.iterdir())
