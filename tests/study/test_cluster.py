"Studies on a Dask cluster: processes of this machine, one of which is killed."

import os
import signal
import threading
import time

import numpy as np
import pytest
import torch
from commands import holders, needs_proc

from carat.core import CaratError
from carat.study.studies import SCORES, load_judged, read_study, run_study

dask = pytest.importorskip("dask", reason="the extra carat[cluster] is not installed")
distributed = pytest.importorskip("distributed", reason="the extra carat[cluster] is not installed")

STUDY = """
title = "A study for tests"
reference = "carat"

[stores.tiny]
twin = { size = 120, strength = 8, seed = 0 }

[rows.carat]
label = "tiny CARAT"
model = { layers = [1, 1, 1], d = 16, d_z = 8, d_h = 8, heads = 2, ff = 16, queue = 128 }
training = { epochs = 25, batch_size = 32, lr = 2e-3 }

[rows.br]
label = "BR"
kind = "br"

[rows.wild]
label = "diverges"
model = { layers = [1, 1, 1], d = 16, d_z = 8, d_h = 8, heads = 2, ff = 16, queue = 128 }
training = { epochs = 1, batch_size = 32, lr = 1e30 }
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("declared") / "declared.toml"
    path.write_text(STUDY)
    return read_study(path)


def scores(out):
    found = sorted((out / "runs").rglob(SCORES))
    return {str(p.relative_to(out)): load_judged(p).scores for p in found}


def kill_who_trains(client, out, killed):
    "Kill the worker of the long run once it has had two epochs."
    pids, end = set(client.run(os.getpid).values()), time.monotonic() + 240
    while time.monotonic() < end and not killed:
        for history in out.glob("runs/tiny/carat-*/seed-1/history.jsonl"):
            if len(history.read_text().splitlines()) >= 2:
                killed += pids & set(holders(history.parent))
        time.sleep(0.1)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@needs_proc
def test_a_study_survives_the_death_of_a_worker(study, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the workers: the number of threads decides the last bits
    try:
        run_study(study, tmp_path / "here", jobs=0, device="cpu")
    finally:
        torch.set_num_threads(threads)
    killed, out = [], tmp_path / "there"
    how = dict(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    forked = dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    with forked, distributed.LocalCluster(**how) as cluster, distributed.Client(cluster) as client:
        args = (client, out, killed)
        watcher = threading.Thread(target=kill_who_trains, args=args, daemon=True)
        watcher.start()
        address, said = cluster.scheduler_address, []
        runs = run_study(study, out, device="cpu", cluster=address, tell=said.append)
        watcher.join()
    assert len(killed) == 1
    assert [r.failed for r in runs] == [False, False, True] and "not finite" in runs[2].error
    here, there = scores(tmp_path / "here"), scores(out)
    assert here.keys() == there.keys() and len(here) == 2
    assert all(np.array_equal(here[k], there[k]) for k in here)


def test_a_cluster_that_cannot_be_used_is_refused(study, tmp_path):
    with pytest.raises(CaratError, match="workers decide"):
        run_study(study, tmp_path / "both", jobs=2, cluster="tcp://127.0.0.1:1")
    how = dict(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
    with distributed.LocalCluster(**how) as cluster:
        with pytest.raises(CaratError, match="--nthreads 1"):
            run_study(study, tmp_path / "threads", cluster=cluster.scheduler_address)
