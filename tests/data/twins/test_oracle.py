"The oracle from outside: it knows the world of a store, and nothing of a split that is no twin."

import numpy as np
import pytest

from carat.core import CaratError
from carat.data.store import Store
from carat.data.twins.mosei import RELEVANCE, World, make_twin, write_twin
from carat.data.twins.oracle import oracle, oracle_scores


def test_memory_and_disk_say_the_same(tmp_path):
    memory = make_twin(400, seed=7)["test"]
    disk = Store(write_twin(tmp_path / "twin.h5", size=400, seed=7))["test"]
    np.testing.assert_allclose(oracle_scores(memory), oracle_scores(disk), rtol=1e-9)
    with pytest.raises(CaratError, match="make_twin"):
        oracle(disk, know_speaker=True)


def test_missing_modalities(tmp_path):
    s = Store(write_twin(tmp_path / "gaps.h5", size=200, seed=1, missing=0.4))["train"]
    o = oracle(s)
    assert np.isfinite(o.scores).all() and (o.shows.transpose(0, 2, 1)[~s.present] == 0).all()


def test_another_world_travels_with_its_store(tmp_path):
    world = World(seed=4, strength=8.0, relevance=np.clip(RELEVANCE + 0.1, 0, 0.9))
    s = Store(write_twin(tmp_path / "w.h5", size=100, world=world))["test"]
    told, asked = oracle_scores(s, world), oracle_scores(s)
    np.testing.assert_array_equal(told, asked)
    assert np.abs(asked - oracle_scores(s, World())).max() > 0.1  # the wrong world knows less


def test_bad_input():
    with pytest.raises(CaratError, match="prior"):
        oracle(make_twin(20)["test"], prior="dev")
    with pytest.raises(CaratError, match="no oracle"):
        oracle_scores([1, 2])
