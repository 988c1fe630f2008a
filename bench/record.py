"""Train and record the runs that the chapters show: those of bench/recorded.toml.

    python bench/record.py NAME [NAME ...] [--stores FOLDER]
    python bench/record.py --list

A run is trained into runs/NAME as `carat train` would train it. What the chapters need is added:
metrics of the test split where the store has one, and on a synthetic twin how often the max pooling
picks a planted modality, and the oracle's metrics. The test split chooses nothing.
"""

import argparse
from pathlib import Path

import torch

try:
    import tomllib
except ImportError:  # before Python 3.11
    import tomli as tomllib

from carat.data.store import Store
from carat.data.twins.m3ed_oracle import m3ed_oracle
from carat.data.twins.oracle import oracle
from carat.metrics import choose_threshold, multilabel_metrics, trivial_predictors
from carat.plots import planted_hits
from carat.study.runner import RunSpec, run
from carat.train import evaluate, load_run, record_result

ROOT = Path(__file__).resolve().parent.parent
KEPT = ("pairs", "hit", "chance", "constant")


def each_seed(runs):
    "Runs by name; one with `seeds` becomes one run for each of them."
    for name, own in runs.items():
        if "seeds" not in own:
            yield name, own
        for seed in own.get("seeds", ()):
            training = {**own.get("training", {}), "seed": seed}
            yield f"{name}_seed{seed}", {**own, "training": training}


def specification(name, recorded, stores):
    "The run of that name: its own settings over those that it shares."
    own = recorded["runs"][name]
    shared = recorded["shared"].get(own.get("shared"), {})
    settings = {
        part: {**shared.get(part, {}), **own.get(part, {})} for part in ("model", "training")
    }
    rest = {k: own[k] for k in ("kind", "preset", "modalities") if k in own}
    return RunSpec(stores / own["store"], f"runs/{name}", **rest, **settings)


@torch.no_grad()
def planted(done, store, split):
    """For each level of the max pooling: the share of (sample, true label) pairs whose label leaned
    on a modality that carries it, and chance."""
    part, config, leaned = store[split], done.model.config, {}
    used = [list(store.modalities).index(m) for m in config.modalities]
    device = next(done.model.parameters()).device
    for batch in part.batches(256, device=device, max_steps=config.max_steps):
        for level, winner in done.model(batch).leaned.items():
            leaned.setdefault(level, []).append(winner.cpu())
    truth, out = part.extra("planted")[:, :, used], {}
    for level, winners in leaned.items():
        hits = planted_hits(torch.cat(winners), part.y, truth, part.present[:, used])["all"]
        out[level] = {k: hits[k] for k in KEPT}
    return out


def best_possible(store):
    "The oracle's metrics on test, its threshold chosen on valid."
    look = m3ed_oracle if "world_of_dialogues" in store.attrs else oracle
    valid, test = (look(store[s]).scores for s in ("valid", "test"))
    threshold = choose_threshold(store["valid"].y, valid)
    return multilabel_metrics(store["test"].y, test, threshold, store.labels)


def record(name, recorded, stores, skip_training):
    "Train a run, unless it is there already, and write what the chapters show of it."
    spec = specification(name, recorded, stores)
    done = load_run(spec.out) if skip_training else run(spec, overwrite=True)
    store, more = Store(spec.store), {"title": recorded["runs"][name]["title"]}
    if "test" in store.splits:
        more["test"] = evaluate(done, store, "test")
        more["trivial_test"] = trivial_predictors(store["train"].y, store["test"].y, store.labels)
        if store.attrs.get("synthetic"):
            more["planted"] = planted(done, store, "test")
        if {"world", "world_of_dialogues"} & set(store.attrs):  # the unaligned twin has none
            more["oracle"] = best_possible(store)
    return record_result(done, ROOT / "results" / f"{name}.json", **more)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="runs of bench/recorded.toml")
    parser.add_argument("--stores", type=Path, default=Path(), help="the folder with the stores")
    parser.add_argument("--list", action="store_true", help="say which runs and stores there are")
    parser.add_argument("--skip-training", action="store_true", help="record finished runs")
    args = parser.parse_args()
    recorded = tomllib.loads((ROOT / "bench/recorded.toml").read_text())
    recorded["runs"] = dict(each_seed(recorded["runs"]))
    if args.list or not args.names:
        for name, own in recorded["runs"].items():
            print(f"{name:26} {own['store']:14} {own['title']}")
        for store, made in recorded["stores"].items():
            print(f"\n{store}: {made}")
        return
    if unknown := [n for n in args.names if n not in recorded["runs"]]:
        parser.error(f"bench/recorded.toml has no run called {', '.join(unknown)}")
    for name in args.names:
        print(record(name, recorded, args.stores, args.skip_training))


if __name__ == "__main__":
    main()
