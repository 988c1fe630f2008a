"""Replay the recorded step of the published code, and keep the outcome for chapter 41.

    python bench/reference.py [CASE] [--out results/reference_case.json]

CASE is reference_case.npz, which only the maintainers have; without it the folder that CARAT_DATA
names is searched.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

import carat
from carat.core import write_whole
from carat.data.store import data_folder
from carat.published import PUBLISHED, each_switch, replay

ROOT = Path(__file__).resolve().parent.parent


def about(case):
    "The sizes of a recorded step, in words."
    z = np.load(case)
    B, C = z["y"].shape
    widths = "/".join(str(z[f"x/{m}"].shape[2]) for m in PUBLISHED)
    return f"{case.name}: B {B}, C {C}, widths {widths}, {z['mask'].shape[1]} steps, {z['y'].dtype}"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    folder = data_folder()
    there = folder and folder / "reference_case.npz"
    parser.add_argument("case", nargs="?", type=Path, default=there, metavar="CASE")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reference_case.json")
    args = parser.parse_args()
    if args.case is None or not args.case.is_file():
        parser.error("there is no reference_case.npz: name it, or set CARAT_DATA to its folder")
    record = {
        "what": "one training step of the published code, replayed with CaratConfig.reference()",
        "case": about(args.case),
        "device": "cpu",
        "versions": {"carat": carat.__version__, "torch": torch.__version__},
        "plain": replay(args.case),
        "rounded": replay(args.case, rounded=True),
        "switches": each_switch(args.case),
    }
    write_whole(args.out, json.dumps(record, indent=1) + "\n")
    print(args.out)


if __name__ == "__main__":
    main()
