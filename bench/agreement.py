"""Record how much the runs of a study differ, as aggregate numbers: no sample and no score is kept.

    carat study mosei_check --stores FOLDER --out FOLDER2
    python bench/agreement.py FOLDER2 --store mosei --out results/agreement_mosei.json

Chapter 61 sets its simulated runs beside these numbers.
"""

import argparse
import json
import platform
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np

import carat
from carat.core import write_whole
from carat.study.statistics import interval
from carat.study.studies import Judged
from carat.study.tables import read_results


def ungrouped(run):
    "The same run with every sample in a group of its own."
    return Judged(run.id, run.scores, run.y, run.chosen, run.id, run.labels, run.split)


def differences(pairs):
    "Means over pairs of runs."
    agree = [float((a.chosen == b.chosen).mean()) for a, b in pairs]
    return dict(
        pairs=len(pairs),
        agree=fmean(agree),
        half_width=fmean(interval([a], [b]).half_width for a, b in pairs),
        ungrouped=fmean(interval([ungrouped(a)], [ungrouped(b)]).half_width for a, b in pairs),
    )


def agreement(results, store):
    "How much systems differ, how much seeds do, and how sure one score is."
    found = {row: runs for row, runs in results.found[store].items() if runs}
    seeds = [list(runs.values()) for runs in found.values()]
    apart = [p for a, b in combinations(seeds, 2) for p in zip(a, b, strict=True)]
    # rows without randomness have the same run for every seed
    again = [
        p for runs in seeds for p in combinations(runs, 2) if (p[0].scores != p[1].scores).any()
    ]
    single = [run for runs in seeds for run in runs]
    run, about = single[0], results.stores[store]
    return dict(
        format=1,
        title=f"how much the runs of study {results.study['name']} differ",
        data=dict(name=about["name"], splits={about["split"]: len(run.id)}),
        versions=dict(
            carat=carat.__version__, python=platform.python_version(), numpy=np.__version__
        ),
        groups=len(np.unique(run.cluster)),
        rows=[results.label(row) for row in found],
        seeds=len(seeds[0]),
        f1={results.label(row): fmean(results.metric(store, row, "f1")) for row in found},
        systems=differences(apart),
        same_system=differences(again),
        single=dict(
            half_width=fmean(interval([r]).half_width for r in single),
            ungrouped=fmean(interval([ungrouped(r)]).half_width for r in single),
        ),
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of the study")
    parser.add_argument("--store", default="mosei", help="one of its stores")
    parser.add_argument("--out", type=Path, required=True, help="the record to write")
    a = parser.parse_args()
    record = agreement(read_results(a.folder), a.store)
    write_whole(a.out, json.dumps(record, indent=1) + "\n")
    print(a.out)


if __name__ == "__main__":
    main()
