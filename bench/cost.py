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
from pathlib import Path

from carat.system import Network, kinds, system

HERE = Path(__file__).resolve().parent


def networks():
    "The kinds that take training steps."
    return [k for k in kinds() if k != "aligned" and issubclass(system(k), Network)]


def cost(kind, preset, options):
    "What `bench/step.py` finds of a kind, or None where it fails."
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "step.json"
        line = [sys.executable, str(HERE / "step.py"), "--kind", kind, "--preset", preset]
        done = subprocess.run([*line, "--json", str(out), *options], stdout=subprocess.DEVNULL)
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
        times=step["seconds"] / max(step["arithmetic"], 1e-9),
        flop_per_second=found["flop_per_second"],
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", help="the systems; all networks where none is named")
    parser.add_argument("--preset", default="paper", help="of each system's recipes")
    parser.add_argument("--json", type=Path, help="keep the figures here")
    args, options = parser.parse_known_args()  # the rest goes to bench/step.py
    rows, common = [], None
    print(
        "| kind | parameters, M | step, ms | evaluation, ms | memory, MB | times the arithmetic |"
    )
    print("| --- | --: | --: | --: | --: | --: |")
    for kind in args.kinds or networks():
        found = cost(kind, args.preset, options)
        if found is None:
            print(f"| {kind} | failed | | | | |", flush=True)
            continue
        common = {k: found[k] for k in ("device", "torch", "precision", "batch", "lengths")}
        rows.append(row(kind, found))
        r = rows[-1]
        print(
            f"| {kind} | {r['parameters'] / 1e6:.2f} | {1e3 * r['step']:.0f} "
            f"| {1e3 * r['evaluation']:.0f} | {r['memory'] / 2**20:.0f} | {r['times']:.1f} |",
            flush=True,
        )
    if args.json and common:
        args.json.write_text(json.dumps({**common, "preset": args.preset, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
