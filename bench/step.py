"""Time, memory and arithmetic of one training step and of one evaluation pass, part by part.

    python bench/step.py     # B = 64, MOSEI's true lengths, queue 8192, CaratConfig(), float32
    python bench/step.py --precision bfloat16 --lengths full --preset recommended
    python bench/step.py --device cuda --precision bfloat16 --compile
    python bench/step.py --kind tailor --preset paper  # another system, as a whole
    python bench/step.py --slow --json results/step_cpu.json  # the chapters' slow versions, too

The estimate of a part is the longer of two times at this machine's own speed, measured in the same
run: that of its matrix products and that of its memory traffic. It is no lower bound, because the
traffic is counted as if no two operations shared a pass over memory. The JSON file calls it limit.
"Arithmetic alone" assumes the speed of one large product. Narrow layers do not reach it, so on a
CPU the time within the part's own products, at their own sizes, stands beside it.
"""

import argparse
import ast
import json
import math
import os
import platform
import resource
import statistics
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import (
    FlopCounterMode,
    flop_registry,
    register_flop_formula,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

import carat.nn.attention
import carat.nn.contrast
import carat.nn.pooling
import carat.nn.prototypes
import carat.nn.shuffle
from carat.batch import Batch
from carat.core import CaratError, find_device
from carat.data.benchmarks import COUNTS, LABELS, MODALITIES, label_sets
from carat.nn.contrast import class_ids, supcon
from carat.nn.pooling import bce
from carat.nn.shuffle import draw_shuffle, shuffle
from carat.system import Network, field_names, recipe, system
from carat.train import TrainConfig, make_optimizer


@register_flop_formula(torch.ops.carat.pool_lse)
def _(E, on, n, *rest, **kw):
    return E[0] ** 2 * E[1]  # every pair once, a multiplication and an addition


@register_flop_formula(torch.ops.carat.pool_lse_backward)
def _(g, lse, E, on, n, *rest, **kw):
    pairs = n * E[0] - n * n // 2  # those with a row of the batch
    return 2 * E[1] * (2 * pairs + n * n // 2)  # similarities again, then gradients down and across


def lstm_flop(x, weights):
    "Operations of an LSTM layer: every weight meets every step of every sample."
    return 2 * x[0] * x[1] * sum(math.prod(w) for w in weights)


@register_flop_formula(torch.ops.aten.mkldnn_rnn_layer)
def _(x, w_input, w_state, *rest, **kw):
    return lstm_flop(x, [w_input, w_state])


@register_flop_formula(torch.ops.aten.mkldnn_rnn_layer_backward)
def _(x, w_input, w_state, *rest, **kw):
    return 2 * lstm_flop(x, [w_input, w_state])  # gradients of the input and of the weights


@register_flop_formula(torch.ops.aten._cudnn_rnn)
def _(x, weights, *rest, **kw):
    return lstm_flop(x, [w for w in weights if len(w) == 2])


@register_flop_formula(torch.ops.aten._cudnn_rnn_backward)
def _(x, weights, *rest, **kw):
    return 2 * lstm_flop(x, [w for w in weights if len(w) == 2])


@register_flop_formula(torch.ops.aten._scaled_dot_product_flash_attention_for_cpu)
def _(q, k, v, *rest, **kw):
    return sdpa_flop_count(q, k, v)


@register_flop_formula(torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward)
def _(g, q, k, v, *rest, **kw):
    return sdpa_backward_flop_count(g, q, k, v)


class Products(TorchDispatchMode):
    "Seconds within the operations that do the counted arithmetic, at the sizes that they have."

    def __init__(self):
        super().__init__()
        self.seconds = 0.0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        start = time.perf_counter()
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.seconds += time.perf_counter() - start
        return out


class Traffic(TorchDispatchMode):
    "Bytes that all operations read and write if none is fused with another; views cost nothing."

    def __init__(self):
        super().__init__()
        self.nbytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view and not any(
            k in str(func) for k in ("detach", "empty", "alias", "_unsafe_view")
        ):
            leaves = torch.utils._pytree.tree_leaves((args, kwargs, out))
            self.nbytes += sum(
                t.numel() * t.element_size() for t in leaves if isinstance(t, torch.Tensor)
            )
        return out


def synthetic_batch(B, modalities, lengths, device, seed=0):
    "Random features with true label sets, and lengths drawn from those of MOSEI or all 60."
    rng = np.random.default_rng(seed)
    words = COUNTS["train"]["words"]
    n = (
        rng.choice(np.arange(1, len(words) + 1), B, p=words / words.sum())
        if lengths == "true"
        else np.full(B, 60)
    )
    sets = COUNTS["train"]["sets"]
    y = label_sets()[rng.choice(len(sets), B, p=sets / sets.sum())]
    T = 60 if device.type == "cuda" else int(n.max())
    mask = torch.arange(T) < torch.tensor(n)[:, None]
    x = {
        m: torch.randn(
            B, T, MODALITIES[m], generator=torch.Generator().manual_seed(seed)
        ).masked_fill(~mask[..., None], 0)
        for m in modalities
    }
    return Batch(
        x, {m: mask for m in x}, torch.tensor(y, dtype=torch.float32), [str(i) for i in range(B)]
    ).to(device), n


def timed(f, device, repeats):
    """Median seconds of some runs, after two that do not count.

    On a GPU, which works through a queue, a run is ten calls: so does training, which reads nothing
    within an epoch."""
    wait, calls, took = lambda: None, 1, []
    if device.type == "cuda":
        wait, calls = torch.cuda.synchronize, 10
    for k in range(repeats + 2):
        wait()
        start = time.perf_counter()
        for _ in range(calls):
            f()
        wait()
        if k > 1:
            took.append((time.perf_counter() - start) / calls)
    return statistics.median(took)


def reads_of(f, device):
    "How often a call waits for the device; None on a CPU, where nothing waits."
    if device.type != "cuda":
        return None
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        f()
        torch.cuda.set_sync_debug_mode("default")
    found = [w for w in heard if "synchroniz" in str(w.message)]
    for w in found:
        print(f"waits for the device: {w.filename}:{w.lineno}", file=sys.stderr)
    return len(found)


def machine_speed(device, dtype):
    "Operations per second of a large matrix product, bytes per second of a large copy."
    n, numbers = (8192, 1 << 28) if device.type == "cuda" else (2048, 1 << 25)
    a, big = torch.randn(n, n, device=device).to(dtype), torch.randn(numbers, device=device)
    return 2 * n**3 / timed(lambda: a @ a, device, 9), 2 * big.numel() * 4 / timed(
        big.clone, device, 5
    )


@contextmanager
def turn(path):
    "Wait until no other process measures; nothing to wait for where there is no file."
    if path is None:
        yield
        return
    import fcntl

    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def memory(device):  # most bytes held: of the device, or of the process
    return (
        torch.cuda.max_memory_allocated(device)
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )


def parts_of(model, batch, autocast, optimizer):
    "The parts of a training step: functions that do one part forwards and backwards."
    c, (B, M, C) = model.config, (len(batch), len(batch.modalities), batch.y.shape[1])
    with torch.no_grad(), autocast():
        H = {m: model.encoders[m](batch.x[m], batch.mask[m]) for m in c.modalities}
        U_o, present, _ = model.extract(batch)
        out = model.fuse(U_o, present, {})
        Z = torch.stack([out.z_o, *(model.embed(out.U[k])[1] for k in c.levels)], 1).float()

    def leaf(t):
        return t.detach().clone().requires_grad_()

    cls = class_ids(batch.y, M)[:, None].expand(Z.shape[:-1]).flatten()
    valid = present[:, None, :, None].expand(Z.shape[:-1]).flatten()

    def extractor():
        with autocast():
            h = [model.encoders[m](batch.x[m], batch.mask[m]) for m in c.modalities]
        torch.autograd.backward([v.sum() for v in h])

    def attention():
        with autocast():
            u = [model.attention[m](leaf(H[m]), batch.mask[m])[0] for m in c.modalities]
        torch.autograd.backward([v.sum() for v in u])

    def reconstruction():
        with autocast():
            o = model.fuse(leaf(U_o), present, {})
            total = (
                sum(v.float().square().sum() for v in o.U.values())
                + sum(bce(s, batch.y) for s in o.s.values())
                + sum(model.embed(o.U[k])[1].sum() for k in c.levels)
            )
        total.backward()

    def contrast():
        supcon(
            leaf(Z).flatten(0, 3),
            cls,
            valid,
            model.queue.rows,
            model.queue.cls,
            model.queue.valid,
            c.tau,
            c.scl_reduction,
            max_norm=1.0,
            low=U_o.dtype == torch.bfloat16,
        ).backward()
        model.queue.enqueue(Z.flatten(0, 3), cls, valid)

    def prototypes():
        k = [("o", *c.levels).index(level) for level in c.prototype_levels]
        model.prototypes.update(
            Z[:, k].flatten(0, 1),
            batch.y.repeat_interleave(len(k), 0),
            present.repeat_interleave(len(k), 0),
            normalise=c.prototype_normalise,
        )

    def shuffling():
        with autocast():
            V = leaf(out.U[c.deepest])
            V_hat, y_hat = shuffle(
                V, batch.y, *draw_shuffle(present, C), attached=c.shuffle_attached, present=present
            )
            total = bce(model.h_c(V), batch.y[:, None].expand(B, M, C)) + bce(
                model.h_c(V_hat), y_hat
            )
        total.backward()

    def optimise():
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return {
        "extractor": extractor,
        "label attention": attention,
        "latent space, reconstruction, heads": reconstruction,
        "contrastive loss, queue": contrast,
        "prototypes": prototypes,
        "shuffle, aggregation": shuffling,
        "optimiser": optimise,
    }


def slow_versions(model, batch):
    "Seconds of the slow versions of the chapters, forwards only, once, from their notebooks."

    def of(notebook, name):  # a function of a chapter
        for cell in json.loads(
            (Path(__file__).parents[1] / "nbs" / f"{notebook}.ipynb").read_text()
        )["cells"]:
            if cell["cell_type"] == "code" and f"def {name}(" in "".join(cell["source"]):
                space, tree = (
                    {
                        k: v
                        for m in (
                            carat.nn.attention,
                            carat.nn.contrast,
                            carat.nn.pooling,
                            carat.nn.prototypes,
                            carat.nn.shuffle,
                        )
                        for k, v in vars(m).items()
                    },
                    ast.parse("".join(cell["source"])),
                )
                exec(
                    compile(
                        ast.Module([n for n in tree.body if isinstance(n, ast.FunctionDef)], []),
                        notebook,
                        "exec",
                    ),
                    space,
                )
                return space[name]
        raise SystemExit(f"{notebook} has no {name}")

    c = model.config
    with torch.no_grad():
        U_o, present, _ = model.extract(batch)
        out = model.fuse(U_o, present, {})
        Z = torch.stack(
            [out.z_o, *(model.embed(out.U[k])[1] for k in c.levels)], 1
        )  # (B, levels, M, C, d_z)
        cls = class_ids(batch.y, len(c.modalities))[:, None].expand(Z.shape[:-1]).flatten()
        E, cls, valid = (
            torch.cat([Z.flatten(0, 3), model.queue.rows]),
            torch.cat([cls, model.queue.cls]),
            torch.cat([torch.ones_like(cls, dtype=torch.bool), model.queue.valid]),
        )
        draws = draw_shuffle(present, len(c.labels))
        n = Z.shape[1]
        work = {
            "label attention": lambda: [
                of("22_label_attention", "label_attention_slow")(
                    model.encoders[m](batch.x[m], batch.mask[m]),
                    model.attention[m].w,
                    batch.mask[m],
                )
                for m in c.modalities
            ],
            "max pooling": lambda: [
                of("24_max_pooling", "max_pool_slow")(out.U[k], model.h.weight, present)
                for k in ("o", *c.levels)
            ],
            "contrastive loss (one dense matrix)": lambda: of("25_contrast", "supcon_dense")(
                E, cls, valid, c.tau
            ),
            "prototypes": lambda: of("26_prototypes", "update_slow")(
                model.prototypes.mu.clone(),
                Z.flatten(0, 1),
                batch.y.repeat_interleave(n, 0),
                present.repeat_interleave(n, 0),
                c.phi,
            ),
            "shuffle": lambda: of("27_shuffle", "shuffle_slow")(out.U[c.deepest], batch.y, *draws),
        }
        took = {}
        for name, f in work.items():
            start = time.perf_counter()
            f()
            took[name] = time.perf_counter() - start
    return took


def options():
    "The command line."
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--kind", default="carat", help="the system, one that is a network")
    parser.add_argument("--device", help="cpu, cuda, ...; the best there is where not given")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batch", type=int, default=64, help="samples per step")
    parser.add_argument("--queue", type=int, default=8192, help="rows of CARAT's queue")
    parser.add_argument(
        "--modalities", nargs="+", default=list(MODALITIES), choices=list(MODALITIES)
    )
    parser.add_argument(
        "--lengths",
        choices=("true", "full"),
        default="true",
        help="true: drawn from MOSEI's own; full: 60 steps each",
    )
    parser.add_argument("--preset", default="paper", help="one of the system's recipes")
    parser.add_argument(
        "--threads", type=int, help="CPU threads; torch's own choice where not given"
    )
    parser.add_argument("--repeats", type=int, default=5, help="runs, of which the median counts")
    parser.add_argument("--compile", action="store_true", help="compile the step")
    parser.add_argument(
        "--slow", action="store_true", help="also the slow versions of the chapters (minutes)"
    )
    parser.add_argument("--json", type=Path, help="keep the figures here")
    parser.add_argument(
        "--turn", type=Path, help="a file: of the processes that name it, one measures at a time"
    )
    return parser.parse_args()


def made(args):
    "A network of the kind and preset that were asked for."
    cls = system(args.kind)
    if not issubclass(cls, Network):
        raise CaratError(f"{args.kind} is no network: it takes no training step")
    _, values, _ = recipe(cls, args.preset)
    sizes = dict(queue=args.queue, max_steps=60)
    values = {**values, **{k: v for k, v in sizes.items() if k in field_names(cls.Config)}}
    widths = {m: MODALITIES[m] for m in args.modalities}
    return cls(cls.Config(**{**values, "modalities": widths, "labels": LABELS}))


class Step:
    "A training step and an evaluation pass of a network on one batch."

    def __init__(self, model, batch, args, device):
        _, _, training = recipe(type(model), args.preset)
        how = {k: v for k, v in training.items() if k in ("optimizer", "betas", "decay_also")}
        self.model, self.batch, self.device = model, batch, device
        self.bf16 = args.precision == "bfloat16"
        self.optimizer = make_optimizer(model, TrainConfig(lr=1e-5, **how))
        self.losses_of = (
            torch.compile(model.losses, dynamic=False) if args.compile else model.losses
        )

    def autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def training(self):
        with self.autocast():
            losses = self.losses_of(self.batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.model.backward(losses, self.batch)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def evaluation(self):
        # frozen, because the operation counter stumbles over views of parameters under no_grad
        self.model.eval().requires_grad_(False)
        with self.autocast(), torch.no_grad():
            self.model.predict(self.batch)
        self.model.train().requires_grad_(True)


def counted(f):
    "Operations in matrix products, and bytes that all operations move, of one call."
    with FlopCounterMode(display=False) as flops:
        f()
    with Traffic() as traffic:
        f()
    return flops.get_total_flops(), traffic.nbytes


def products_of(f, device, repeats):
    "Median seconds within matrix products of a call; None on a GPU, which works through a queue."
    if device.type != "cpu":
        return None
    took = []
    for _ in range(repeats):
        with Products() as products:
            f()
        took.append(products.seconds)
    return statistics.median(took)


def measured(functions, seconds, products, flops_s, bytes_s):
    "A row per part: its time, and what its arithmetic and its traffic ask for."
    rows = []
    for name, f in functions.items():
        flop, nbytes = counted(f)
        limit = max(flop / flops_s, nbytes / bytes_s)
        row = dict(part=name, seconds=seconds[name], products=products[name])
        row |= dict(flop=flop, bytes=nbytes)
        rows.append(row | dict(arithmetic=flop / flops_s, limit=limit))
    return rows


def show(rows):
    "The rows as a table in Markdown."

    def times(seconds, alone):
        return f"{seconds / alone:.1f}" if alone is not None and alone > 1e-5 else "–"

    print(
        "| part | ms | of them in products | GFLOP | GB moved, unfused | arithmetic alone, ms "
        "| estimate, ms | times its products | times the arithmetic | times the estimate |\n"
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |"
    )
    for r in rows:
        t, p, a, limit = r["seconds"], r["products"], r["arithmetic"], r["limit"]
        inside = "–" if p is None else f"{1e3 * p:.1f}"
        print(
            f"| {r['part']} | {1e3 * t:.1f} | {inside} | {r['flop'] / 1e9:.2f} "
            f"| {r['bytes'] / 1e9:.2f} | {1e3 * a:.1f} | {1e3 * limit:.1f} "
            f"| {times(t, p)} | {times(t, a)} | {t / limit:.1f} |"
        )


def measurements(args, step):
    "Rows of `measured`, the most memory held, and this machine's two speeds."
    model, device = step.model, step.device
    functions = {"training step": step.training, "evaluation pass": step.evaluation}
    seconds = {"training step": timed(step.training, device, args.repeats)}
    peak = memory(device)  # before anything else is made
    seconds["evaluation pass"] = timed(step.evaluation, device, args.repeats)
    if args.kind == "carat":
        functions |= parts_of(model, step.batch, step.autocast, step.optimizer)
        seconds |= {k: timed(functions[k], device, args.repeats) for k in list(functions)[2:]}
    speed = machine_speed(device, torch.bfloat16 if step.bf16 else torch.float32)
    compiled, step.losses_of = step.losses_of, model.losses  # counts are of the step as written
    products = {k: products_of(f, device, args.repeats) for k, f in functions.items()}
    rows = measured(functions, seconds, products, *speed)
    step.losses_of = compiled
    return rows, peak, *speed


def main():
    args = options()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = find_device(args.device)
    torch.manual_seed(0)
    try:
        model = made(args).to(device)
    except CaratError as e:
        raise SystemExit(f"error: {e}") from None
    batch, lengths = synthetic_batch(args.batch, args.modalities, args.lengths, device)
    step = Step(model, batch, args, device)
    while args.kind == "carat" and not model.queue.valid.all():
        step.training()  # the queue fills before anything is measured
    step.training()  # and what is to be compiled is compiled
    with turn(args.turn):
        rows, peak, flops_s, bytes_s = measurements(args, step)
        reads = reads_of(step.training, device)
    where = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s)"
    )
    print(
        f"{where}; {args.kind}, {args.precision}, {args.preset}, B = {args.batch}, "
        f"lengths {args.lengths} "
        f"(mean {lengths.mean():.1f}), "
        f"{f'queue {args.queue}, ' if args.kind == 'carat' else ''}"
        f"modalities {' '.join(args.modalities)}{', compiled' if args.compile else ''}\n"
        f"this machine, now: {flops_s / 1e9:.0f} GFLOP/s in matrix products, "
        f"{bytes_s / 1e9:.1f} GB/s in copies; "
        f"{'device' if device.type == 'cuda' else 'process'} memory at most "
        f"{peak / 1e6:.0f} MB\n"
    )
    show(rows)
    slow = slow_versions(model, batch) if args.slow and args.kind == "carat" else {}
    if slow:
        print("\n| slow version, forwards only | s |\n| --- | --: |")
        for name, s in slow.items():
            print(f"| {name} | {s:.2f} |")
    if args.json:
        given = {k: v for k, v in vars(args).items() if k not in ("json", "device", "turn")}
        found = dict(
            device=where,
            torch=torch.__version__,
            **given,
            mean_length=float(lengths.mean()),
            parameters=sum(p.numel() for p in model.parameters()),
            flop_per_second=flops_s,
            bytes_per_second=bytes_s,
            peak_memory=peak,
            reads=reads,
            rows=rows,
            slow_seconds=slow,
        )
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
