"The synthetic twin of M3ED from outside: what a store of it promises, on any number of threads."

import bits
import numpy as np
import pytest
import torch
from dialogues import NARROW, SIZE, small_store

from carat.core import CaratError
from carat.data.benchmarks import M3ED_COUNTS, M3ED_LABELS, M3ED_MODALITIES, m3ed_truth
from carat.data.store import check_store
from carat.data.twins.m3ed import DialogueWorld, make_m3ed_twin, plan_m3ed_twin, write_m3ed_twin
from carat.metrics import best_constant_set, trivial_predictors


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("twin"))


def test_store_is_valid_and_says_that_it_is_synthetic(store):
    check_store(store.path)
    assert (
        store.name == "synthetic twin of M3ED"
        and bool(store.attrs["synthetic"])
        and int(store.attrs["seed"]) == 7
    )
    assert (
        store.labels == M3ED_LABELS
        and store.modalities == NARROW["modalities"]
        and store.splits == SIZE
    )


def test_utterances(store):
    for name in store.splits:
        s = store[name]
        L, e, who = s.lengths["t"], s.extra("emotion"), s.extra("speaker")
        assert (
            all((s.lengths[m] == L).all() for m in store.modalities)
            and L.min() >= 7
            and L.max() <= 60
        )
        assert (
            ((e >= 0).sum(1) == L).all()
            and ((who >= 0) == (e >= 0)).all()
            and set(np.unique(who)) == {-1, 0, 1}
        )
        assert (
            (e[..., None] == np.arange(7)).any(1) == (s.y > 0)
        ).all()  # the label set is the union over the utterances


def test_planted_only_where_the_label_is(store):
    for name in store.splits:
        s = store[name]
        planted, start, e = s.extra("planted"), s.extra("start"), s.extra("emotion")
        assert (
            not planted[s.y == 0].any()
            and planted.sum(2).max() == 1
            and (planted == (start >= 0)).all()
        )
        i, c, m = np.nonzero(planted)
        assert (e[i, start[i, c, m]] == c).all()  # where the emotion is said first


def test_memory_and_disk_hold_the_same(store):
    memory = make_m3ed_twin(SIZE, seed=7, world=DialogueWorld(**NARROW))
    assert memory.attrs["world_of_dialogues"] == store.attrs["world_of_dialogues"]
    memory, disk = memory["test"], store["test"]
    a, b = memory.batch(range(60)), disk.batch(range(60))
    for m in store.modalities:
        assert torch.equal(a.x[m].float(), b.x[m]) and torch.equal(a.mask[m], b.mask[m])
    assert torch.equal(a.y.float(), b.y) and a.id == b.id
    assert all((memory.extra(k) == disk.extra(k)).all() for k in disk.extras)


@pytest.mark.parametrize("seed", [0, 11])
def test_full_size_is_m3ed_count_by_count(seed):
    plan = plan_m3ed_twin(990, seed=seed)
    for split, p in plan.items():
        assert (
            np.bincount(p.y @ (1 << np.arange(6, -1, -1)), minlength=128)
            == M3ED_COUNTS[split]["sets"]
        ).all()
        assert (
            np.sort(p.lengths) == np.sort(np.minimum(60, np.repeat(*M3ED_COUNTS[split]["lengths"])))
        ).all()
    floor = trivial_predictors(plan["train"].y, plan["test"].y, M3ED_LABELS)
    best = max(
        v["f1"]
        for v in trivial_predictors(m3ed_truth("test"), m3ed_truth("test"), M3ED_LABELS).values()
    )
    assert (
        abs(best - 0.730) < 5e-4
        and best_constant_set(m3ed_truth("test")).sum() == 5
        and max(v["f1"] for v in floor.values()) < best
    )


@pytest.mark.slow
def test_full_width_same_bits_whatever_the_threads():
    code = "import bits; from carat.data.twins.m3ed import make_m3ed_twin; print(bits.of_features("
    t = make_m3ed_twin(12, seed=3)
    assert t["test"].values("a").shape[1] == M3ED_MODALITIES["a"]
    assert bits.with_two_threads(code + "make_m3ed_twin(12, seed=3)))") == bits.of_features(t)


def test_same_seed_same_dialogues_as_in_the_first_edition():
    world = DialogueWorld(**NARROW)
    assert bits.of_truth(make_m3ed_twin(100, seed=5, world=world)) == FIRST_EDITION


FIRST_EDITION = "20ec7a39eec81042647b712a4883ac4383ff93a41a7595fe7b179a3a20df6222"


def test_bad_input(tmp_path):
    with pytest.raises(CaratError, match="at least 8"):
        write_m3ed_twin(tmp_path / "x.h5", size=2)
    with pytest.raises(CaratError, match="seed"):
        plan_m3ed_twin(100, seed=-1)
    with pytest.raises(CaratError, match="splits"):
        plan_m3ed_twin({"train": 5, "dev": 5})
    with pytest.raises(CaratError, match="relevance"):
        DialogueWorld(relevance=np.ones((7, 3)))
    with pytest.raises(CaratError, match="strength"):
        write_m3ed_twin(tmp_path / "x.h5", strength=float("nan"))
    with pytest.raises(CaratError, match="width"):
        DialogueWorld(modalities={"t": 10, "v": 30, "a": 30})
    with pytest.raises(CaratError, match="shape"):
        DialogueWorld(modalities={"t": 30, "v": 30})
    assert not list(tmp_path.iterdir())
