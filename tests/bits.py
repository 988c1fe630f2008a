"What the tests of the twins share: digests of a twin, here and in another process."

import hashlib
import os
import subprocess
import sys

import numpy as np

from book import ROOT

SPLITS = ("train", "valid", "test")


def digest(arrays) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(v).tobytes() for v in arrays)).hexdigest()


def of_features(twin) -> str:
    "Of all features: the same bits on any number of threads, though not on any processor."
    return digest(twin[k].values(m) for k in SPLITS for m in twin.modalities)


def of_truth(twin) -> str:
    "Of all that is drawn as whole numbers: the same everywhere."
    found = []
    for s in (twin[k] for k in SPLITS):
        extras = [s.extra(k) for k in sorted(s.extras)]
        found += [s.y, *s.lengths.values(), *(v for v in extras if v.dtype.kind in "biu")]
    return digest(v.astype(np.int64) for v in found)


def with_two_threads(code: str) -> str:
    "What Python prints for the code in a process with two threads."
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    path = os.pathsep.join([str(ROOT), os.path.dirname(__file__)])
    env = {**os.environ, **threads, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout.strip()
