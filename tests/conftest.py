"""One thread in this process, as in the processes that the tests start: with two, some sums round
otherwise, and tests compare runs to the bit. PyTorch reads it once, when it is imported.

The end of a run says what its tests have counted, also where several processes shared them."""

import os
from collections import Counter

import pytest

os.environ["OMP_NUM_THREADS"] = "1"
COUNTED = pytest.StashKey[Counter]()


def pytest_configure(config):
    config.stash[COUNTED] = Counter()


@pytest.fixture(scope="session")
def counted(request):
    "What the tests have looked at: what -> how many."
    return request.config.stash[COUNTED]


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # this process tests for another one
        session.config.workeroutput["counted"] = dict(session.config.stash[COUNTED])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    node.config.stash[COUNTED].update(getattr(node, "workeroutput", {}).get("counted", {}))


def pytest_terminal_summary(terminalreporter, config):
    if counts := config.stash[COUNTED]:
        looked_at = ", ".join(f"{n:,} {what}" for what, n in counts.items())
        terminalreporter.write_line(f"looked at: {looked_at}")
