"The rest of the video: what it holds, where it is refused, and runs that were trained with it."

import json
import pickle

import numpy as np
import pytest
import torch

from carat import cli
from carat.core import CaratError
from carat.data.memory import MemoryStore
from carat.data.rest import averaged_in, on_clock, rest_of, videos_of, with_rest, write_rest
from carat.data.store import Store
from carat.data.writer import StoreWriter
from carat.system import kinds, make_model
from carat.train import TrainConfig, evaluate, fit, load_run, predict

LABELS, WIDTHS = ("happy", "sad", "fear"), {"t": 6, "v": 3}
TINY = (
    "--model.layers 1 1 1 1 --model.d 16 --model.d-z 8 --model.d-h 8 --model.heads 2 --model.ff 16"
)
TINY = [*TINY.split(), "--model.queue", "64", "--epochs", "1", "--batch-size", "16"]


def parts(n, seed, clock=True):
    "Arguments of a split: videos of one to four samples, mixed, with gaps; one loses everything."
    rng = np.random.default_rng(seed)
    video = rng.permutation(np.repeat(np.arange(n), rng.integers(1, 5, n))[:n])
    steps, x = rng.integers(1, 7, n), {}
    for m, d in WIDTHS.items():
        lengths = (steps if clock else rng.integers(1, 7, n)) * (rng.random(n) > 0.25)
        lengths[3] = 0
        x[m] = rng.standard_normal((lengths.sum(), d)).astype("float32"), lengths
    extras = {"video": np.array([f"video {k}" for k in video]), "k": rng.integers(0, 9, (n, 2))}
    y = rng.integers(0, 3, (n, 3)) / 2
    return dict(id=[f"clip {i}" for i in range(n)], y=y, x=x, extras=extras)


def splits():
    sizes = dict(train=60, valid=25, test=20)
    return {k: parts(n, i) for i, (k, n) in enumerate(sizes.items())}


def memory(given=None):
    return MemoryStore("videos", LABELS, WIDTHS, given or splits())


def file(path, given=None, extras=(("video", ("str", ())), ("k", ("int64", (2,))))):
    with StoreWriter(path, "videos", LABELS, WIDTHS, extras=dict(extras), attrs={"by": "us"}) as w:
        for k, v in (given or splits()).items():
            more = {name: v["extras"][name] for name, _ in extras}
            w.add_many(k, v["id"], v["y"], v["x"], more)
    return path


def slow(given, modalities=tuple(WIDTHS)):
    "Sample -> its rest, sample by sample from the arrays; None where it is alone."
    video, found = given["extras"]["video"], []
    for i in range(len(video)):
        others, rest = [j for j in range(len(video)) if j != i and video[j] == video[i]], []
        for m in modalities:
            values, lengths = given["x"][m]
            ends = np.cumsum(lengths)
            means = [values[ends[j] - lengths[j] : ends[j]].mean(0) for j in others if lengths[j]]
            rest.append(np.mean(means, 0) if means else np.zeros(WIDTHS[m]))
        found.append(np.concatenate(rest) if others else None)
    return found


def message(f, *args, **more):
    with pytest.raises(CaratError) as e:
        f(*args, **more)
    return str(e.value)


def same_bits(a, b):
    "Two stores hold the same."
    assert (a.labels, a.modalities, a.splits) == (b.labels, b.modalities, b.splits)
    assert a.fingerprint() == b.fingerprint()


@pytest.mark.parametrize("where", ["memory", "file"])
@pytest.mark.parametrize("modalities", [(), ("v",), ("v", "t")])
def test_it_is_the_mean_of_the_others(tmp_path, where, modalities):
    given = splits()
    data = memory(given) if where == "memory" else Store(file(tmp_path / "a.h5", given))
    full, names = with_rest(data, modalities), modalities or tuple(WIDTHS)
    assert full.modalities == {**WIDTHS, "rest": sum(WIDTHS[m] for m in names)}
    assert averaged_in(full) == list(names)
    alone = 0
    for name, part in given.items():
        batch = full[name].batch(range(len(part["id"])))
        for i, want in enumerate(slow(part, names)):
            alone += want is None
            assert bool(batch.mask["rest"][i].any()) == (want is not None)
            got = batch.x["rest"][i, 0].numpy()
            np.testing.assert_allclose(got, 0 if want is None else want, atol=1e-6)
        for m in WIDTHS:
            assert torch.equal(batch.x[m], data[name].batch(range(len(part["id"]))).x[m])
    assert alone > 3


def test_blocks_make_no_difference(monkeypatch):
    from carat.data.store import RaggedSplit

    whole = rest_of(memory()["train"], list(WIDTHS))
    usual = RaggedSplit.blocks
    monkeypatch.setattr(RaggedSplit, "blocks", lambda s, **how: usual(s, 7, **how))
    assert np.array_equal(rest_of(memory()["train"], list(WIDTHS)), whole)


def test_no_label_is_read():
    given = splits()
    blind = {k: {**v, "y": None} for k, v in given.items()}
    for name in given:
        a, b = (rest_of(memory(g)[name], list(WIDTHS)) for g in (given, blind))
        assert np.array_equal(a, b)


def test_no_bit_of_the_utterance_itself():
    given = parts(40, 5)
    video = given["extras"]["video"]
    i = next(i for i in range(40) if given["x"]["t"][1][i] and (video == video[i]).sum() > 2)
    values, lengths = given["x"]["t"]
    changed = values.copy()
    changed[lengths[:i].sum() : lengths[: i + 1].sum()] += 1e8
    before = memory({"train": given})
    after = memory({"train": {**given, "x": {**given["x"], "t": (changed, lengths)}}})
    a, b = (rest_of(d["train"], ["t", "v"]) for d in (before, after))
    assert np.array_equal(a[i], b[i])
    others = (video == video[i]) & (np.arange(40) != i)
    assert ((a != b).any(1) == others).all()


def test_nothing_crosses_splits():
    "Both splits have the same videos by name; each sees its own."
    given = {"train": parts(40, 1), "test": parts(40, 2)}
    alone = rest_of(memory({"test": given["test"]})["test"], ["t"])
    assert np.array_equal(rest_of(memory(given)["test"], ["t"]), alone)
    full = with_rest(memory(given))
    assert set(given["train"]["extras"]["video"]) & set(given["test"]["extras"]["video"])
    want = [w for w in slow(given["test"]) if w is not None]
    with full["test"].opened() as rows:
        np.testing.assert_allclose(rows["rest"], want, atol=1e-6)


def test_samples_without_a_videos_name_are_alone():
    given = parts(12, 0)
    given["extras"]["video"] = np.array(["", "", "a", "a", "", "b", "b", "b", "c", "", "c", "d"])
    data = memory({"train": given})
    assert len(np.unique(videos_of(data["train"]))) == 8
    kept = with_rest(data)["train"].lengths["rest"]
    assert kept.tolist() == [0, 0, 1, 1, 0, 1, 1, 1, 1, 0, 1, 0]


def test_numbers_may_name_videos():
    given = parts(12, 0)
    given["extras"]["video"] = np.arange(12) // 2
    assert with_rest(memory({"train": given}))["train"].lengths["rest"].all()


def test_refusals(tmp_path):
    given = splits()
    nameless = {k: {**v, "extras": {"k": v["extras"]["k"]}} for k, v in given.items()}
    said = message(with_rest, memory(nameless))
    assert "does not say which video" in said and "'video'" in said
    full = with_rest(memory(given))
    assert "already has a modality 'rest'" in message(with_rest, full)
    path = write_rest(memory(given), tmp_path / "a.h5")
    assert "already has a modality 'rest'" in message(with_rest, Store(path))
    assert "t, v" in message(with_rest, memory(given), ["t", "w"])
    assert "each once" in message(with_rest, memory(given), ["t", "t"])
    assert "already exists" in message(write_rest, memory(given), path)
    assert not list(tmp_path.glob(".*"))
    broken = {**given, "test": {**given["test"], "extras": {}}}
    assert "split 'test'" in message(write_rest, memory(broken), tmp_path / "b.h5")
    assert not (tmp_path / "b.h5").exists()


def test_the_file_holds_everything_and_always_the_same_bytes(tmp_path):
    source = Store(file(tmp_path / "a.h5"))
    first = write_rest(source, tmp_path / "b.h5")
    second = write_rest(Store(tmp_path / "a.h5"), tmp_path / "c.h5")
    assert first.read_bytes() == second.read_bytes()
    copy = Store(first)
    same_bits(copy, with_rest(source))
    assert copy.attrs["by"] == "us" and copy.attrs["rest_of"] == "t v"
    for name in source.splits:
        a, b = source[name], copy[name]
        assert np.array_equal(a.intensity, b.intensity) and a.id.tolist() == b.id.tolist()
        assert sorted(a.extras) == sorted(b.extras)
        assert all(np.array_equal(a.extra(k), b.extra(k)) for k in a.extras)
        assert [str(v.dtype) for v in (a.extra("k"), b.extra("k"))] == ["int64"] * 2


def test_clips_without_labels(tmp_path):
    given = parts(20, 0)
    with StoreWriter(tmp_path / "a.h5", "new", (), WIDTHS, extras={"video": ("str", ())}) as w:
        w.add_many("clips", given["id"], None, given["x"], {"video": given["extras"]["video"]})
    copy = Store(write_rest(Store(tmp_path / "a.h5"), tmp_path / "b.h5"))
    assert copy["clips"].y is None and copy.modalities["rest"] == 9
    same_bits(copy, with_rest(Store(tmp_path / "a.h5")))


@pytest.mark.parametrize(
    "more", [{}, {"stream": True}, {"max_steps": 2}, {"rank": 1, "world": 3}, {"pad_to": 9}]
)
def test_batches_are_those_of_the_file(tmp_path, more):
    view = with_rest(Store(file(tmp_path / "a.h5")))["train"]
    copy = Store(write_rest(Store(tmp_path / "a.h5"), tmp_path / "b.h5"))["train"]
    how = dict(batch_size=7, shuffle=True, seed=1, epoch=2) | more
    for a, b in zip(view.batches(**how), copy.batches(**how), strict=True):
        assert a.id == b.id
        for m in (*WIDTHS, "rest"):
            assert torch.equal(a.x[m], b.x[m]) and torch.equal(a.mask[m], b.mask[m])


def test_a_view_can_be_pickled(tmp_path):
    view = with_rest(Store(file(tmp_path / "a.h5")))
    view["train"].batch([0])
    again = pickle.loads(pickle.dumps(view))
    assert torch.equal(again["train"].batch([1]).x["rest"], view["train"].batch([1]).x["rest"])


def test_sums_of_large_values_do_not_overflow():
    given = splits()
    given["train"]["x"]["t"][0][:] = 3e38
    given["train"]["extras"]["video"][:] = "one"
    full = with_rest(memory(given))
    assert torch.isfinite(full["train"].batch(range(9)).x["rest"]).all()


def test_one_clock(tmp_path):
    data = with_rest(memory())
    batch = on_clock(data["train"].batch(range(30)))
    clock = batch.mask["t"] | batch.mask["v"]
    first = torch.zeros_like(clock)
    first[:, 0] = True
    clock = torch.where(clock.any(1, keepdim=True), clock, first)
    there = torch.from_numpy(data["train"].lengths["rest"][:30] > 0)
    assert torch.equal(batch.mask["rest"], clock & there[:, None])
    assert (batch.x["rest"][~batch.mask["rest"]] == 0).all()
    one = data["train"].batch(range(30)).x["rest"]
    assert torch.equal(batch.x["rest"], one * batch.mask["rest"][..., None])
    plain = memory()["train"].batch(range(3))
    assert on_clock(plain) is plain
    alone = plain.select(["t"])
    assert on_clock(alone) is alone


@pytest.mark.parametrize("kind", [k for k in kinds() if k not in ("aligned", "carat")])
def test_every_system_reads_it(kind):
    "Also those that need a common clock; evaluation from the plain store is the same."
    plain = memory()
    data = with_rest(plain)
    how = TrainConfig.preset(kind, "small", epochs=1, batch_size=16, device="cpu")
    run = fit(make_model(kind, data, preset="small"), data, how, progress=False)
    assert tuple(run.model.config.modalities) == ("t", "v", "rest")
    assert run.info["data"]["rest_of"] == ["t", "v"]
    a, b = predict(run, data, "test"), predict(run, plain, "test")
    assert np.array_equal(a.scores, b.scores)


def test_a_run_says_what_it_cannot_add():
    data = with_rest(memory())
    how = TrainConfig(device="cpu")
    run = fit(make_model("br", data, modalities=["t", "rest"]), data, how, progress=False)
    given = {k: {**v, "extras": {}} for k, v in splits().items()}
    assert "does not say which video" in message(evaluate, run, memory(given))
    narrow = {k: {**v, "x": {"t": v["x"]["t"]}} for k, v in splits().items()}
    only = MemoryStore("text", LABELS, {"t": 6}, narrow)
    assert "has the modalities t" in message(evaluate, run, only)


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    "A plain store and the same with the rest."
    d = tmp_path_factory.mktemp("rest")
    size = ["--size", "120", "--seed", "1", "--missing", "0.2"]
    assert cli.main(["prepare", "twin", "--out", str(d / "plain.h5"), *size]) == 0
    argv = ["prepare", "rest", str(d / "plain.h5"), "--out", str(d / "rest.h5")]
    assert cli.main(argv) == 0
    return d


@pytest.mark.parametrize("kind", ["carat", "br"])
def test_trained_by_either_way(twin, tmp_path, capsys, kind):
    "`--rest` on the plain store and a store that has it are one run; both read both stores."
    options = ["--kind", kind, "--device", "cpu", "--quiet"]
    if kind == "carat":
        options += TINY
    runs = {"flag": ["plain.h5", "--rest"], "store": ["rest.h5"]}
    for name, (store, *more) in runs.items():
        argv = ["train", str(twin / store), "--out", str(tmp_path / name), *more, *options]
        assert cli.main(argv) == 0, capsys.readouterr().err
    flag, store = (json.loads((tmp_path / n / "config.json").read_text()) for n in runs)
    assert flag["data"] == store["data"] and flag["data"]["rest_of"] == ["t", "v", "a"]
    assert list(flag["model"]["config"]["modalities"]) == ["t", "v", "a", "rest"]
    a, b = (load_run(tmp_path / n, "cpu").model.state_dict() for n in runs)
    assert all(torch.equal(a[k], b[k]) for k in a)
    said = set()
    for name in runs:
        for data in ("plain.h5", "rest.h5"):
            out = tmp_path / f"{name}-{data}.csv"
            argv = ["predict", str(tmp_path / name), str(twin / data), "--out", str(out)]
            assert cli.main([*argv, "--device", "cpu"]) == 0
            said.add(out.read_text())
            argv = ["evaluate", str(tmp_path / name), str(twin / data), "--device", "cpu"]
            assert cli.main(argv) == 0
    assert len(said) == 1
    argv = ["plot", str(tmp_path / "flag"), str(twin / "plain.h5"), "--out", str(tmp_path / "f")]
    assert cli.main([*argv, "--device", "cpu"]) == 0


def test_left_out(twin, tmp_path):
    argv = ["train", str(twin / "rest.h5"), "--out", str(tmp_path / "run"), "--kind", "br"]
    assert cli.main([*argv, "--modalities", "t", "v", "a", "--device", "cpu", "--quiet"]) == 0
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert list(config["model"]["config"]["modalities"]) == ["t", "v", "a"]
    argv = ["evaluate", str(tmp_path / "run"), str(twin / "plain.h5"), "--device", "cpu"]
    assert cli.main(argv) == 0


def test_a_stopped_run_goes_on(twin, tmp_path):
    from carat.study.runner import RunSpec, run

    def stop(epoch, model, record):
        raise KeyboardInterrupt

    model = dict(layers=(1, 1, 1, 1), d=16, d_z=8, d_h=8, heads=2, ff=16, queue=64)
    how = dict(epochs=2, batch_size=16, device="cpu")
    spec = RunSpec(twin / "plain.h5", tmp_path / "run", model=model, training=how, rest=True)
    assert RunSpec.from_json(spec.to_json()).rest
    with pytest.raises(KeyboardInterrupt):
        run(spec, progress=False, callbacks=[stop], checkpoint=0)
    resumed = run(spec, progress=False, resume=True)
    whole = run(RunSpec(twin / "plain.h5", model=model, training=how, rest=True), progress=False)
    assert [r["losses"] for r in resumed.history] == [r["losses"] for r in whole.history]


def test_the_commands(twin, tmp_path, capsys):
    assert cli.main(["check", str(twin / "rest.h5")]) == 0
    said = capsys.readouterr().out
    assert "rest: the mean of the video's other samples, over t, v, a" in said and "409" in said
    argv = ["prepare", "rest", str(twin / "plain.h5"), "--out", str(tmp_path / "v.h5")]
    assert cli.main([*argv, "--modalities", "v"]) == 0
    assert Store(tmp_path / "v.h5").modalities["rest"] == 35
    for wrong, words in (
        (argv, "already exists"),
        (["prepare", "rest", str(twin / "rest.h5"), "--out", str(tmp_path / "x.h5")], "'rest'"),
        (["prepare", "rest", str(twin / "no.h5"), "--out", str(tmp_path / "x.h5")], "no store"),
        (["train", str(twin / "rest.h5"), "--rest", "--out", str(tmp_path / "x")], "'rest'"),
    ):
        capsys.readouterr()
        assert cli.main(wrong) == 2
        err = capsys.readouterr().err
        assert words in err and len(err.splitlines()) == 1
    assert not (tmp_path / "x.h5").exists() and not (tmp_path / "x").exists()


def test_its_own_file_can_be_replaced(twin, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes((twin / "plain.h5").read_bytes())
    argv = ["prepare", "rest", str(path), "--out", str(path), "--overwrite"]
    assert cli.main(argv) == 0
    assert path.read_bytes() == (twin / "rest.h5").read_bytes()
