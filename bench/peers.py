"""Records a finished study of the peers: what every system answers for every clip.

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
from carat.metrics import trivial_predictors
from carat.study.tables import read_results

ROOT = Path(__file__).resolve().parent.parent


def as_number(sets):  # (N, C) bool -> N whole numbers
    return (np.asarray(sets, dtype=int) << np.arange(sets.shape[1])).sum(1).tolist()


def recorded(results):
    "What is kept of the only store of a study."
    (store, rows), *others = results.found.items()
    if others or not results.stores[store]["synthetic"]:
        raise CaratError("a study of one synthetic store can be recorded here")
    every = [j for seeds in rows.values() for j in seeds.values()]
    first = every[0]
    if any(j.id.tolist() != first.id.tolist() for j in every):
        raise CaratError("the runs of this study have scored different clips")
    found = {}
    for row, seeds in rows.items():
        found[row] = dict(
            label=results.label(row),
            missing=results.missing.get(store, {}).get(row),
            seeds={s: dict(**j.metrics(), sets=as_number(j.chosen)) for s, j in seeds.items()},
        )
    return dict(
        study=results.study["name"],
        store=results.stores[store],
        split=first.split,
        labels=first.labels.tolist(),
        id=first.id.tolist(),
        truth=as_number(first.y > 0),
        constant=trivial_predictors(first.y, first.y, first.labels.tolist()),
        rows=found,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", help="of the study")
    args = parser.parse_args()
    record = recorded(read_results(args.folder))
    path = ROOT / "results" / f"{record['study']}.json"
    path.write_text(json.dumps(record) + "\n")
    print(path)


if __name__ == "__main__":
    main()
