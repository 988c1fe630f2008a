"""What each system costs: parameters, a training step, an evaluation pass and memory, side by side.

    python bench/cost.py --json results/cost_cpu.json    # all networks, preset "paper", B = 64

Each network is measured by `bench/step.py` in a process of its own, so that memory is its own, too.
The table has the micro-F1 of the paper's Table 1 beside it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from carat.system import Network, kinds, system

HERE = Path(__file__).resolve().parent
COMMON = ("device", "torch", "precision", "compile", "batch", "lengths")


def networks():
    "The kinds that take training steps."
    return [k for k in kinds() if k != "aligned" and issubclass(system(k), Network)]


def cost(kind, preset, most, options):
    "What `bench/step.py` finds of a kind, or None where it fails."
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "step.json"
        line = [sys.executable, str(HERE / "step.py"), "--kind", kind, "--preset", preset]
        line += ["--json", str(out), *options]
        try:
            done = subprocess.run(line, stdout=subprocess.DEVNULL, timeout=most)
        except subprocess.TimeoutExpired:
            return None
        return json.loads(out.read_text()) if done.returncode == 0 else None


def row(kind, found):
    step, evaluation = (found["rows"][i] for i in (0, 1))
    return dict(
        kind=kind,
        parameters=found["parameters"],
        step=step["seconds"],
        evaluation=evaluation["seconds"],
        memory=found["peak_memory"],
        flop=step["flop"],
        products=step["products"],  # None on a GPU
        share=step["arithmetic"] / step["seconds"],
        samples_per_second=found["batch"] / step["seconds"],
        reads=found["reads"],
        flop_per_second=found["flop_per_second"],
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", help="the systems; all networks where none is named")
    parser.add_argument("--preset", default="paper", help="of each system's recipes")
    parser.add_argument("--json", type=Path, help="keep the figures here")
    parser.add_argument("--jobs", type=int, default=1, help="systems at a time; they take turns")
    parser.add_argument("--most", type=float, help="seconds for one system")
    args, options = parser.parse_known_args()  # the rest goes to bench/step.py
    todo = args.kinds or networks()
    print(
        "| kind | parameters, M | step, ms | samples/s | evaluation, ms | memory, MB "
        "| share of the arithmetic, % | times its products | reads in a step |"
    )
    print("| --- | --: | --: | --: | --: | --: | --: | --: | --: |")
    with tempfile.NamedTemporaryFile() as turn, ThreadPoolExecutor(args.jobs) as pool:
        if args.jobs > 1:
            options += ["--turn", turn.name]
        found = pool.map(lambda kind: cost(kind, args.preset, args.most, options), todo)
        rows = list(shown(zip(todo, found, strict=True), args))
    if failed := set(todo) - {r["kind"] for r in rows}:
        sys.exit(f"failed: {', '.join(sorted(failed))}")


def shown(found, args):
    "The row of each kind, printed and kept as soon as it is there."
    rows = []
    for kind, one in found:
        if one is None:
            print(f"| {kind} | failed | | | | | | | |", flush=True)
            continue
        common = {k: one[k] for k in COMMON} | {"preset": args.preset}
        r = row(kind, one)
        rows.append(r)
        reads = "–" if r["reads"] is None else r["reads"]
        times = f"{r['step'] / r['products']:.1f}" if r["products"] else "–"
        print(
            f"| {kind} | {r['parameters'] / 1e6:.2f} | {1e3 * r['step']:.3g} "
            f"| {r['samples_per_second']:.0f} | {1e3 * r['evaluation']:.3g} "
            f"| {r['memory'] / 1e6:.0f} | {100 * r['share']:.0f} | {times} | {reads} |",
            flush=True,
        )
        if args.json:
            args.json.write_text(json.dumps({**common, "rows": rows}, indent=1) + "\n")
        yield r


if __name__ == "__main__":
    main()
