"""One thread in this process, as in the processes that the tests start: with two, some sums round
otherwise, and tests compare runs to the bit. PyTorch reads it once, when it is imported."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
