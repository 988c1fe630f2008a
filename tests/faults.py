"What can happen to a file: seeded damage, the same for every format."

import numpy as np


def damaged(whole: bytes, i: int, at=None) -> bytes:
    """The i-th damaged copy of a file: bytes changed, cut off, put in, taken out, or copied over.

    at: the positions to change; those that are not 0 where not given.
    """
    rng, data = np.random.default_rng(i), np.frombuffer(whole, np.uint8)
    at = np.flatnonzero(data) if at is None else np.asarray(at)
    a, b, n = int(rng.choice(at)), int(rng.choice(at)), int(rng.integers(1, 17))
    match i % 10:
        case 0:
            return whole[: rng.integers(len(whole))]
        case 1:
            return whole[:a] + rng.bytes(n) + whole[a:]
        case 2:
            return whole[:a] + whole[a + n :]
        case 3:
            return whole[:a] + whole[b : b + 4 * n] + whole[a + 4 * n :]
        case 4:
            return whole[:a] + bytes([whole[a] ^ 1 << int(rng.integers(8))]) + whole[a + 1 :]
    bad = data.copy()
    bad[rng.choice(at, 1 + i % 4)] = rng.integers(0, 256, 1 + i % 4)
    return bad.tobytes()


def swap(key: str, make):
    "A change of an HDF5 file: one data set in the place of another, made of its values."

    def change(f):
        v = make(f[key][:])
        del f[key]
        f[key] = v

    return change
