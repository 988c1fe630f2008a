"""What the fifth change of chapter 76 and tiles bring: each is undone, and both ways take turns.

    python bench/ways.py --json results/ways_cpu_float32.json  # the training step, B = 64
    python bench/ways.py --precision bfloat16 --json results/ways_cpu_bfloat16.json
    python bench/ways.py --tables --json results/ways_cpu_tables.json  # Eq. 6 and 7 alone

A pair is the package's way and the other one, right after each other, and every second pair begins
with the other way. What counts is the quotient of a pair: other work on the machine slows both. So
time is that of the processor, on one thread. The first row undoes nothing: it shows the noise.
"""

import argparse
import copy
import json
import math
import os
import platform
import statistics
import time
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
from contrast import dense, gradient, peak_memory, random_pool
from step import Step, made, synthetic_batch

from carat.data.benchmarks import MODALITIES
from carat.nn import packing, tiles
from carat.nn.contrast import supcon

CPU = torch.device("cpu")


@contextmanager
def powers_of_e():
    "Tiles in powers of e: their scale no longer holds log 2."
    base = SimpleNamespace(log=lambda _: 1.0, ceil=math.ceil, inf=math.inf)
    T = torch.Tensor
    powers = dict(exp2_=T.exp_, exp2=T.exp, log2_=T.log_)
    with mock.patch.object(tiles, "math", base), mock.patch.multiple(T, **powers):
        yield


@contextmanager
def softmax_of_any_length():
    "torch's softmax, in the precision of the scores; groups are padded to their longest sample."
    group = packing._group
    own = SimpleNamespace(apply=lambda x: x.softmax(-1))
    exact = mock.patch.object(packing, "_group", lambda count, T, width: group(count, T, 1))
    with exact, mock.patch.object(packing, "_Softmax", own):
        yield


def written(x, source, back):
    "What `_Move` does, with each row written to its position; gradients are torch's own."
    if len(source) > len(x):
        return x.new_zeros(len(source), *x.shape[1:]).index_copy(0, back, x)
    return x.index_select(0, source)


def rows_written():
    return mock.patch.object(packing, "_Move", SimpleNamespace(apply=written))


@contextmanager
def all_three():
    with ExitStack() as undone:
        for way in (powers_of_e, softmax_of_any_length, rows_written):
            undone.enter_context(way())
        yield


WAYS = {
    "nothing": nullcontext,
    "powers of two": powers_of_e,
    "softmax": softmax_of_any_length,
    "packed rows": rows_written,
    "all three": all_three,
}


def loss_and_gradient(model, batch, way):
    "Of a copy of the model that drops nothing, with the same draws of the shuffle."
    model = copy.deepcopy(model)
    for encoder in model.encoders.values():
        encoder.dropout = 1e-9  # so small that nothing is dropped, but the way is that of training
    torch.manual_seed(0)
    with way():
        losses = model.losses(batch)
        model.backward(losses, batch)
    grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return losses["loss"].item(), torch.cat(grads)


def check(model, batch):
    "Every way gives the same loss and the same gradient, in float32."
    loss, grad = loss_and_gradient(model, batch, nullcontext)
    for name, way in WAYS.items():
        other, other_grad = loss_and_gradient(model, batch, way)
        gap = float((other_grad - grad).norm() / grad.norm())
        if abs(other - loss) > 1e-4 * abs(loss) or gap > 1e-3:
            raise SystemExit(f"{name}: loss {other} in place of {loss}, gradients differ by {gap}")


def processor_seconds(f):
    start = time.process_time()
    f()
    return time.process_time() - start


def taking_turns(now, before, pairs):
    "Processor seconds of both ways (now, before) in each pair, after one that does not count."
    took = []
    for k in range(pairs + 1):
        if k % 2:
            first = processor_seconds(now)
            took.append((first, processor_seconds(before)))
        else:
            first = processor_seconds(before)
            took.append((processor_seconds(now), first))
    return took[1:]


def row(name, took, **more):
    now, before = zip(*took, strict=True)
    quotients = [b / a for a, b in took]
    low, middle, high = statistics.quantiles(quotients, n=4)
    seconds = statistics.median(now), statistics.median(before)
    print(
        f"| {name} | {seconds[1]:.3f} | {seconds[0]:.3f} | {middle:.3f} "
        f"| {low:.3f} to {high:.3f} | {len(took)} |",
        flush=True,
    )
    return dict(way=name, now=seconds[0], before=seconds[1], quotients=quotients, **more)


def step_rows(args):
    "The training step with each part of the fifth change undone."
    batch, lengths = synthetic_batch(args.batch, args.modalities, "true", CPU)
    step = Step(made(args).to(CPU), batch, args, CPU)
    while not step.model.queue.valid.all():
        step.training()
    check(step.model, batch)

    def undone(way):
        with way():
            step.training()

    now = step.training
    rows = [
        row(name, taking_turns(now, partial(undone, WAYS[name]), args.pairs))
        for name in args.undone
    ]
    what = f"the training step with parts of the fifth change undone, {args.precision}"
    found = dict(what=what, precision=args.precision, preset=args.preset)
    return found | dict(mean_length=float(lengths.mean())), rows


def table_rows(args):
    "The contrastive loss with tables of all pairs and with tiles, for two sizes of the queue."
    n, classes = 3 * args.batch * 3 * 6, 2 * 3 * 6
    rows = []
    for K in (1024, args.queue):
        pool = random_pool(n, K, classes, 64, 0.0, torch.Generator().manual_seed(0), CPU)
        now = partial(gradient, partial(supcon, tau=0.07, max_norm=1.01), *pool)
        before = partial(gradient, partial(dense, tau=0.07), *pool)
        torch.testing.assert_close(now(), before(), rtol=1e-3, atol=1e-4)
        held = dict(now_bytes=peak_memory(now, CPU), before_bytes=peak_memory(before, CPU))
        took = taking_turns(now, before, args.pairs)
        rows.append(row(f"queue {K:,}", took, rows=n + K, queue=K, **held))
    what = "the contrastive loss with tables of all pairs against tiles"
    return dict(what=what, precision="float32", own_rows=n), rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batch", type=int, default=64, help="samples per step")
    parser.add_argument("--queue", type=int, default=8192, help="rows of the queue")
    parser.add_argument("--pairs", type=int, default=20, help="pairs that count, of each way")
    undone = "what is undone in the step; nothing shows the noise"
    parser.add_argument(
        "--undone", nargs="+", default=list(WAYS), choices=list(WAYS), metavar="WAY", help=undone
    )
    parser.add_argument("--tables", action="store_true", help="tables against tiles")
    parser.add_argument("--json", type=Path, help="keep the figures here")
    args = parser.parse_args()
    vars(args).update(kind="carat", preset="paper", compile=False, modalities=list(MODALITIES))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    where = f"{platform.machine()}, {os.cpu_count()} cores, 1 thread(s)"
    print(f"{where}, {torch.backends.cpu.get_cpu_capability()}; torch {torch.__version__}\n")
    print("| undone | before, s | now, s | before / now | its middle half | pairs |")
    print("| --- | --: | --: | --: | --: | --: |")
    settings, rows = table_rows(args) if args.tables else step_rows(args)
    if args.json:
        found = dict(
            what=settings.pop("what"),
            device=where,
            capability=torch.backends.cpu.get_cpu_capability(),
            torch=torch.__version__,
            batch=args.batch,
            queue=args.queue,
            **settings,
            rows=rows,
        )
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
