"A small twin of M3ED with narrow features, for the tests of the twin and of its oracle."

from carat.data.store import Store
from carat.data.twins.m3ed import DialogueWorld, write_m3ed_twin

NARROW = dict(modalities={"t": 40, "v": 30, "a": 50})
SIZE = {"train": 20, "valid": 20, "test": 60}


def small_store(folder):
    path = folder / "twin.h5"
    return Store(write_m3ed_twin(path, size=SIZE, seed=7, world=DialogueWorld(**NARROW)))
