"""Time and peak memory of the contrastive loss (value and gradient), in tiles against one dense matrix, as the queue grows.

python bench/contrast.py                        # batch 64, three modalities, six labels; queues of 0 to 32,768
python bench/contrast.py --queue 8192 262144 --threads 2 --device cuda
"""

import argparse
import os
import platform
import time

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler need not tell when it starts

import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from carat.nn.contrast import supcon


def dense(e, cls, valid, queue, queue_cls, queue_valid, tau):
    "Eq. 6 and 7 with matrices of the size of the pool squared."
    E, cls, on = torch.cat([e, queue]), torch.cat([cls, queue_cls]), torch.cat([valid, queue_valid])
    other = on & ~torch.eye(len(E), dtype=torch.bool, device=E.device)
    positive = other & on[:, None] & (cls == cls[:, None])
    count = positive.sum(1)
    s = E @ E.T / tau
    share = (s - s.masked_fill(~other, -torch.inf).logsumexp(1, keepdim=True)).masked_fill(
        ~positive, 0
    )
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
    events = sorted(
        (e.start_ns(), e.nbytes())
        for e in record.profiler.kineto_results.events()
        if e.name() == "[memory]"
    )
    held = peak = 0
    for _, nbytes in events:
        peak = max(peak, held := held + nbytes)
    return peak


def seconds(f, device, repeats):
    "Quickest and middle of some runs, after one that does not count."
    wait, took = (torch.cuda.synchronize if device.type == "cuda" else lambda: None), []
    for k in range(repeats + 1):
        wait()
        start = time.perf_counter()
        f()
        wait()
        if k:
            took.append(time.perf_counter() - start)
    return min(took), sorted(took)[len(took) // 2]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--queue",
        type=int,
        nargs="+",
        default=[0, 1024, 2048, 4096, 8192, 16384, 32768],
        help="sizes of the queue",
    )
    parser.add_argument(
        "--batch",
        type=int,
        default=64,
        help="samples; the batch has 3 * batch * modalities * labels rows",
    )
    parser.add_argument("--modalities", type=int, default=3)
    parser.add_argument("--labels", type=int, default=6)
    parser.add_argument("--width", type=int, default=64, help="d_z")
    parser.add_argument("--tau", type=float, default=0.07)
    parser.add_argument(
        "--missing", type=float, default=0.0, help="share of rows that do not exist"
    )
    parser.add_argument("--block", type=int, default=None, help="rows of a tile")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--dense-up-to", type=int, default=8192, help="largest queue for the dense form; -1: none"
    )
    o = parser.parse_args()
    if o.threads:
        torch.set_num_threads(o.threads)
    device = torch.device(o.device)
    n, classes, g = (
        3 * o.batch * o.modalities * o.labels,
        2 * o.modalities * o.labels,
        torch.Generator().manual_seed(0),
    )
    name = (
        torch.cuda.get_device_name()
        if device.type == "cuda"
        else f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    )
    print(
        f"{name}, torch {torch.__version__}, {n:,} rows in the batch, d_z {o.width}, tau {o.tau}, float32\n"
    )
    print(
        "| queue | GFLOP of the tiles | tiles, best s | median s | GFLOP/s | MB | dense, best s | median s | MB |\n|"
        + " ---: |" * 9
    )
    for K in o.queue:
        rows = F.normalize(torch.randn(n + K, o.width, generator=g), dim=1).to(device)
        cls = torch.randint(classes, (n + K,), generator=g).to(device)
        valid = (torch.rand(n + K, generator=g) >= o.missing).to(device)
        e = rows[:n].clone().requires_grad_()
        args = e, cls[:n], valid[:n], rows[n:].clone(), cls[n:], valid[n:]
        tiles = lambda: torch.autograd.grad(
            supcon(*args, tau=o.tau, block=o.block, max_norm=1.01), e
        )
        plain = lambda: torch.autograd.grad(dense(*args, o.tau), e)
        best, middle = seconds(tiles, device, o.repeats)
        live, own = int(valid.sum()), int(valid[:n].sum())
        pairs = (
            live**2 / 2 + own**2 / 2 + own * (live - own) + own * live
        )  # forwards, again backwards, gradient
        line = [
            f"{K:,}",
            f"{2 * o.width * pairs / 1e9:.1f}",
            f"{best:.4f}",
            f"{middle:.4f}",
            f"{2 * o.width * pairs / 1e9 / best:.0f}",
            f"{peak_memory(tiles, device) / 1e6:.0f}",
        ]
        if K <= o.dense_up_to:
            best, middle = seconds(plain, device, min(o.repeats, 2))
            line += [f"{best:.4f}", f"{middle:.4f}", f"{peak_memory(plain, device) / 1e6:.0f}"]
        print("| " + " | ".join(line + ["–"] * (9 - len(line))) + " |", flush=True)


if __name__ == "__main__":
    main()
