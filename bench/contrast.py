"""Time and peak memory of the contrastive loss, in tiles against one dense matrix.

Value and gradient together, as the queue grows. With a batch of 64, three modalities, six labels
and queues of 0 to 32,768 rows, and with other queues on a GPU:

python bench/contrast.py
python bench/contrast.py --queue 8192 262144 --threads 2 --device cuda
"""

import argparse
import os
import platform
import time
from functools import partial

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler need not tell when it starts

import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from carat.nn.contrast import supcon


def dense(e, cls, valid, queue, queue_cls, queue_valid, tau):
    "Eq. 6 and 7 with matrices of the size of the pool squared."
    E, cls = torch.cat([e, queue]), torch.cat([cls, queue_cls])
    on = torch.cat([valid, queue_valid])
    other = on & ~torch.eye(len(E), dtype=torch.bool, device=E.device)
    positive = other & on[:, None] & (cls == cls[:, None])
    count = positive.sum(1)
    s = E @ E.T / tau
    below = s.masked_fill(~other, -torch.inf).logsumexp(1, keepdim=True)
    share = (s - below).masked_fill(~positive, 0)
    return -torch.where(count > 0, share.sum(1) / count.clamp(min=1), 0).sum()


def peak_memory(f, device):
    "Most bytes that torch held at once while f ran, beyond those before."
    if device.type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        f()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        f()
    events = record.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    held = peak = 0
    for _, nbytes in changes:
        peak = max(peak, held := held + nbytes)
    return peak


def seconds(f, device, repeats):
    "Quickest and middle of some runs, after one that does not count."
    took = []
    for k in range(repeats + 1):
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        f()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if k:
            took.append(time.perf_counter() - start)
    return min(took), sorted(took)[len(took) // 2]


def gradient(loss, e, *rest):
    return torch.autograd.grad(loss(e, *rest), e)


def random_pool(n, K, classes, width, missing, g, device):
    "Rows of a batch and of a queue, their classes, and which of them exist."
    rows = F.normalize(torch.randn(n + K, width, generator=g), dim=1).to(device)
    cls = torch.randint(classes, (n + K,), generator=g).to(device)
    valid = (torch.rand(n + K, generator=g) >= missing).to(device)
    e = rows[:n].clone().requires_grad_()
    return e, cls[:n], valid[:n], rows[n:].clone(), cls[n:], valid[n:]


def giga_operations(pool):
    "Of the tiles: similarities forwards, again backwards, and the gradient."
    e, _, valid, _, _, queue_valid = pool
    own = int(valid.sum())
    live = own + int(queue_valid.sum())
    pairs = live**2 / 2 + own**2 / 2 + own * (live - own) + own * live
    return 2 * e.shape[1] * pairs / 1e9


def measured(pool, o, device):
    "One line of the table."
    tiles = partial(supcon, tau=o.tau, block=o.block, max_norm=1.01)
    run = partial(gradient, tiles, *pool)
    best, middle = seconds(run, device, o.repeats)
    work, peak = giga_operations(pool), peak_memory(run, device) / 1e6
    line = [f"{work:.1f}", f"{best:.4f}", f"{middle:.4f}", f"{work / best:.0f}", f"{peak:.0f}"]
    if len(pool[3]) > o.dense_up_to:
        return line + ["–"] * 3
    run = partial(gradient, partial(dense, tau=o.tau), *pool)
    best, middle = seconds(run, device, min(o.repeats, 2))
    return line + [f"{best:.4f}", f"{middle:.4f}", f"{peak_memory(run, device) / 1e6:.0f}"]


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add, sizes = parser.add_argument, [0, 1024, 2048, 4096, 8192, 16384, 32768]
    add("--queue", type=int, nargs="+", default=sizes, help="sizes of the queue")
    rows = "samples; the batch has 3 * batch * modalities * labels rows"
    add("--batch", type=int, default=64, help=rows)
    add("--modalities", type=int, default=3, help="number of modalities")
    add("--labels", type=int, default=6, help="number of labels")
    add("--width", type=int, default=64, help="d_z")
    add("--tau", type=float, default=0.07, help="temperature")
    add("--missing", type=float, default=0.0, help="share of rows that do not exist")
    add("--block", type=int, default=None, help="rows of a tile")
    add("--repeats", type=int, default=5, help="runs, the quickest and the middle of which count")
    add("--threads", type=int, default=None, help="CPU threads")
    add("--device", default="cpu", help="cpu, cuda, ...")
    largest = "largest queue for the dense form; -1: none"
    add("--dense-up-to", type=int, default=8192, help=largest)
    return parser.parse_args()


def main():
    o = arguments()
    if o.threads:
        torch.set_num_threads(o.threads)
    device, g = torch.device(o.device), torch.Generator().manual_seed(0)
    n, classes = 3 * o.batch * o.modalities * o.labels, 2 * o.modalities * o.labels
    name = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    if device.type == "cuda":
        name = torch.cuda.get_device_name()
    print(f"{name}, torch {torch.__version__}, {n:,} rows in the batch, ", end="")
    print(f"d_z {o.width}, tau {o.tau}, float32\n")
    heads = ["queue", "GFLOP of the tiles", "tiles, best s", "median s", "GFLOP/s", "MB"]
    heads += ["dense, best s", "median s", "MB"]
    print("| " + " | ".join(heads) + " |\n|" + " ---: |" * len(heads))
    for K in o.queue:
        pool = random_pool(n, K, classes, o.width, o.missing, g, device)
        print("| " + " | ".join([f"{K:,}", *measured(pool, o, device)]) + " |", flush=True)


if __name__ == "__main__":
    main()
