"""Train and record a run that chapters 37 and 39 show.

    python bench/record.py STORE results/NAME.json [any option of `carat train`]

trains as `carat train` does (same options, same run folder, under runs/), then adds what the chapters need: metrics of the test split where the
store has one, and on a synthetic twin how often the max pooling picks a planted modality, and the oracle's metrics. The test split chooses nothing.
"""

import argparse
import sys
from pathlib import Path

import torch

from carat.cli import main as carat
from carat.metrics import choose_threshold, multilabel_metrics, trivial_predictors
from carat.plots.figures import planted_hits
from carat.data.store import Store
from carat.data.twins.oracle import oracle
from carat.train import evaluate, load_run, record_result
from carat.data.twins.m3ed import m3ed_oracle


@torch.no_grad()
def planted(run, store, split):
    "For each level of the max pooling: the share of (sample, true label) pairs whose label leaned on a modality that carries it, and chance."
    part, used, leaned = (
        store[split],
        [list(store.modalities).index(m) for m in run.model.config.modalities],
        {},
    )
    for batch in part.batches(
        256, device=next(run.model.parameters()).device, max_steps=run.model.config.max_steps
    ):
        for level, winner in run.model(batch).leaned.items():
            leaned.setdefault(level, []).append(winner.cpu())
    hits = {
        level: planted_hits(
            torch.cat(v), part.y, part.extra("planted")[:, :, used], part.present[:, used]
        )["all"]
        for level, v in leaned.items()
    }
    return {
        level: {k: h[k] for k in ("pairs", "hit", "chance", "constant")}
        for level, h in hits.items()
    }


def best_possible(store):
    "The oracle's metrics on test, its threshold chosen on valid."
    look = m3ed_oracle if "world_of_dialogues" in store.attrs else oracle
    return multilabel_metrics(
        store["test"].y,
        look(store["test"]).scores,
        choose_threshold(store["valid"].y, look(store["valid"]).scores),
        store.labels,
    )


parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("store", type=Path)
parser.add_argument("result", type=Path)
parser.add_argument("--title", default="", help="what tables call the run")
parser.add_argument(
    "--skip-training", action="store_true", help="record the finished run of that name"
)
args, options = parser.parse_known_args()

folder = Path("runs") / args.result.stem
if not args.skip_training and (
    status := carat(["train", str(args.store), "--out", str(folder), *options])
):
    sys.exit(status)
run, store, more = load_run(folder), Store(args.store), {}
if args.title:
    more["title"] = args.title
if "test" in store.splits:
    more["test"] = evaluate(run, store, "test")
    more["trivial_test"] = trivial_predictors(store["train"].y, store["test"].y, store.labels)
    if store.attrs.get("synthetic"):
        more["planted"] = planted(run, store, "test")
    if {"world", "world_of_dialogues"} & set(store.attrs):
        more["oracle"] = best_possible(store)  # the unaligned twin has none
print(record_result(run, args.result, **more))
