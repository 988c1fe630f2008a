"The oracle of the twin of M3ED from outside: calibrated, finite, the same in memory and on disk."

import numpy as np
import pytest
from dialogues import NARROW, SIZE, small_store

from carat.core import CaratError
from carat.data.benchmarks import m3ed_truth
from carat.data.store import Store
from carat.data.twins.m3ed import DialogueWorld, make_m3ed_twin, write_m3ed_twin
from carat.data.twins.m3ed_oracle import m3ed_oracle
from carat.data.twins.oracle import oracle
from carat.plots.figures import planted_hits


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("twin"))


def test_memory_and_disk_have_the_same_posterior(store):
    memory = make_m3ed_twin(SIZE, seed=7, world=DialogueWorld(**NARROW))["test"]
    disk = store["test"]
    for know in (True, False):
        np.testing.assert_allclose(
            m3ed_oracle(memory, know_speaker=know).scores,
            m3ed_oracle(disk, know_speaker=know).scores,
            rtol=1e-9,
        )


def test_the_oracle_is_calibrated_and_finds_the_channel(store):
    s, o = store["test"], m3ed_oracle(store["test"])
    miss, expected = ((o.scores - s.y) ** 2).mean(), (o.scores * (1 - o.scores)).mean()
    assert (
        abs(o.scores.mean(0) - s.y.mean(0)).max() < 0.08
        and abs(miss - expected) < 0.015
        and miss < 0.07
    )
    assert planted_hits(o.shows.argmax(2), s.y, s.extra("planted"))["all"]["hit"] > 0.95
    alone = m3ed_oracle(s, modalities="t")
    assert (
        ((alone.scores - s.y) ** 2).mean() > ((o.scores - s.y) ** 2).mean()
        and np.isnan(alone.shows[..., 1:]).all()
        and np.isfinite(alone.shows[..., 0]).all()
    )
    with pytest.raises(CaratError, match="no oracle"):
        oracle(s)  # that of MOSEI knows another world


def test_a_long_dialogue_may_have_few_emotions():
    world = DialogueWorld(relevance=np.eye(7)[:, [4, 0, 1]], **NARROW)  # Anger shows in the text
    s = make_m3ed_twin({"train": 1, "valid": 1, "test": 179}, world=world)["test"]
    few, o = (s.y.sum(1) <= 2) & (s.lengths["t"] >= 25), m3ed_oracle(s, prior="test")
    assert few.sum() > 5
    miss, expected = (o.scores - s.y)[few] ** 2, (o.scores * (1 - o.scores))[few]
    assert abs(miss.mean() - expected.mean()) < 0.02
    sure = o.scores > 0.99
    assert sure.sum() > 300 and s.y[sure].mean() > 0.99


def test_another_world_travels_with_its_store(tmp_path):
    world = DialogueWorld(seed=4, strength=3.0, **NARROW)
    s = Store(write_m3ed_twin(tmp_path / "w.h5", size=40, world=world))["test"]
    np.testing.assert_array_equal(m3ed_oracle(s, world).scores, m3ed_oracle(s).scores)
    assert (
        np.abs(m3ed_oracle(s).scores - m3ed_oracle(s, DialogueWorld(**NARROW)).scores).max() > 0.1
    )


def test_extreme_strengths_are_finite():
    for strength in (0.0, 60.0):
        s = make_m3ed_twin(
            {"train": 1, "valid": 1, "test": 15}, world=DialogueWorld(strength=strength, **NARROW)
        )["test"]
        o = m3ed_oracle(s)
        assert np.isfinite(o.scores).all() and np.isfinite(o.shows).all()
        if strength == 0:
            assert (
                np.abs(o.scores - m3ed_truth("train").mean(0)).max() < 0.35
            )  # only lengths are left to see
