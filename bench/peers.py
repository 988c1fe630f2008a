"""Records a finished study of the peers: its tables, and what every system answers for every clip.

    carat study peers_small --out runs/peers     # trains all systems on a synthetic twin
    python bench/peers.py runs/peers             # writes results/peers_small.json

For synthetic clips only: the record holds their labels. A set of labels is kept as one number,
whose bit j is set where label j is chosen.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from carat.core import CaratError
from carat.study.tables import read_results, to_record

ROOT = Path(__file__).resolve().parent.parent


def as_number(sets):  # (N, C) bool -> N whole numbers
    return (np.asarray(sets, dtype=int) << np.arange(sets.shape[1])).sum(1).tolist()


def answers(results):
    "The clips of the only store of a study, and what was chosen for them."
    (store, rows), *others = results.found.items()
    if others or not results.stores[store]["synthetic"]:
        raise CaratError("a study of one synthetic store can be recorded here")
    every = [j for seeds in rows.values() for j in seeds.values()]
    first = every[0]
    if any(j.id.tolist() != first.id.tolist() for j in every):
        raise CaratError("the runs of this study have scored different clips")
    chosen = {
        row: {s: as_number(j.chosen) for s, j in seeds.items()} for row, seeds in rows.items()
    }
    labels = first.labels.tolist()
    return dict(labels=labels, id=first.id.tolist(), truth=as_number(first.y > 0), chosen=chosen)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", help="of the study")
    results = read_results(parser.parse_args().folder)
    record = {**to_record(results), "answers": answers(results)}
    path = ROOT / "results" / f"{results.study['name']}.json"
    path.write_text(json.dumps(record) + "\n")
    print(path)


if __name__ == "__main__":
    main()
