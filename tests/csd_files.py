"Files of the .csd format as its description says, and what the importer must make of them."

import json

import h5py
import numpy as np

from carat.data.store import Store

FILES = {
    "t": ("TimestampedWordVectors", "glove_vectors"),
    "words": ("TimestampedWords", "words"),
    "v": ("VisualFacet42", "FACET 4.2"),
    "a": ("COVAREP", "COVAREP"),
    "labels": ("Labels", "All Labels"),
}
FOLDS = {"train": ["A", "B"], "valid": ["C"], "test": ["nowhere"]}


def write_file(path, root, videos, compression="gzip"):
    "A .csd file as data_formats.md describes it: {video: (intervals, features)}."
    with h5py.File(path, "w") as f:
        for video, (intervals, features) in videos.items():
            g = f.create_group(f"{root}/data/{video}")
            g.create_dataset(
                "intervals",
                data=np.asarray(intervals, float).reshape(-1, 2),
                compression=compression if len(intervals) else None,
            )
            g.create_dataset(
                "features", data=features, compression=compression if len(features) else None
            )
        meta = f.create_group(f"{root}/metadata")
        for k, v in {"root name": root, "dataset name": "CMU-MOSEI", "md5": None}.items():
            meta.create_dataset(k, (1,), dtype=h5py.string_dtype())[0] = json.dumps(v)


def wide(values, d):
    return np.repeat(np.asarray(values, "f4")[:, None], d, 1)


def tokens(*words):
    return np.array(words, "S32")[:, None]


nan, inf = np.nan, np.inf
A_WORDS = [(0, 0.5), (0.5, 1), (1, 1.5), (1.5, 2), (2, 2), (2, 3)]  # the fifth has no length
A_SOUND = [
    (0, 0.3),
    (0.2, 0.6),
    (0.5, 1),
    (0.9, 1.1),
    (1.1, 1.4),
    (1.4, 1.6),
    (1.6, 1.6),
    (1.7, 1.6),
    (1.8, 2.5),
    (2.2, 2.4),
    (nan, 2.4),
]
LABEL_A = [
    [-1, 1, 0, 0, 2, 0, 0],
    [0, 0, 0, 0, 0, 0, 0],
    [1, 0, 0, 0, 0, 0, 1],
    [3, 0, 3, 0, 0, 1, 0],
    [0, 0, 1, 0, 0, 0, 0],
    [0, nan, 0, 0, 0, 0, 0],
]


def fixture(folder):
    folder.mkdir(parents=True)
    b = wide([6, 8], 35)
    b[0, 1], b[1, 1], b[:, 2] = nan, 4, [inf, -inf]
    videos = {
        "words": {
            "A": (A_WORDS, tokens("hello", "sp", "world", "again", "never", "far")),
            "B": ([(1, 2), (0, 1)], tokens("two", "one")),
            "C": ([(0, 1), (1, 2)], tokens("sp", "see")),
        },
        "t": {
            "A": ([A_WORDS[i] for i in (0, 2, 3, 4, 5)], wide([1, 2, 3, 4, 5], 300)),
            "B": ([(1, 2), (0, 1)], wide([20, 10], 300)),
            "C": ([(0, 1), (1, 2)], wide([50, 60], 300)),
            "D": ([(0, 1)], wide([1], 300)),
        },
        "v": {
            "A": ([(0, 1), (2.5, 3.5)], wide([1, 7], 35)),
            "B": ([(0, 2), (0.5, 1)], b),
            "C": (np.zeros((0, 2)), wide([], 35)),
            "D": ([(0, 1)], wide([1], 35)),
        },
        "a": {
            "A": (A_SOUND, wide([2, 4, 9, 10, -inf, 4, 100, 100, 8, 5, 100], 74)),
            "C": ([(0, 2)], wide([3], 74)),
            "D": ([(0, 1)], wide([1], 74)),
        },
        "labels": {
            "A": (
                [(0.25, 1.5), (1.4, 3), (0.6, 0.9), (1, 2), (5, 4), (0, 1)],
                np.array(LABEL_A, "f4"),
            ),
            "B": ([(0, 2)], np.array([[2, 0, 0, 0.5, 0, 0, 0]], "f4")),
            "C": ([(0, 2)], np.array([[-2, 0, 0, 0, 0, 0, 3]], "f4")),
            "D": ([(0, 1)], np.zeros((1, 7), "f4")),
        },
    }
    for k, (file, root) in FILES.items():
        write_file(folder / f"CMU_MOSEI_{file}.csd", root, videos[k])
    return folder


def described(folder, split_of, words=60):
    "What the aligned store must hold: {split: [(id, y, {m: rows})]}; every pair is compared."

    def read(k):
        with h5py.File(folder / f"CMU_MOSEI_{FILES[k][0]}.csd") as f:
            root = f[list(f)[0]]["data"]
            return {
                v: (root[v]["intervals"][()].astype(float), root[v]["features"][()])
                for v in root
                if v in split_of
            }

    with np.errstate(all="ignore"):
        data, out = {k: read(k) for k in ("t", "v", "a", "labels")}, {}

        def ok(i):
            return np.isfinite(i).all() and i[1] - i[0] > 1e-5

        def meets(i, j):
            return i[0] < j[1] - 1e-5 and i[1] > j[0] + 1e-5

        def mean(m, video, word):
            t, x = data[m].get(video, ((), ()))
            x = [x[i] for i in range(len(t)) if ok(t[i]) and meets(t[i], word)]
            if not x:
                return None
            x = np.stack(x).astype("f4").astype(float)
            good = np.isfinite(x)
            return (np.where(good, x, 0).sum(0) / np.maximum(good.sum(0), 1)).astype("f4")

        for video in sorted(data["labels"]):
            if video not in split_of:
                continue
            for k, (segment, label) in enumerate(zip(*data["labels"][video], strict=True)):
                if not ok(segment) or not np.isfinite(label).all():
                    continue
                t, x = data["t"].get(video, ((), ()))
                mine = sorted(
                    (i for i in range(len(t)) if ok(t[i]) and meets(t[i], segment)),
                    key=lambda i: t[i][0],
                )[:words]
                if not mine:
                    continue
                v = np.stack([x[i] for i in mine]).astype("f4")
                with_rows = {"t": np.where(np.isfinite(v), v, 0)}
                for m in "va":
                    means = [mean(m, video, t[i]) for i in mine]
                    d = 35 if m == "v" else 74
                    with_rows[m] = (
                        np.zeros((0, d))
                        if all(v is None for v in means)
                        else np.stack([np.zeros(d) if v is None else v for v in means])
                    )
                out.setdefault(split_of[video], []).append((f"{video}[{k}]", label[1:], with_rows))
    return out


def holds(path, expected, dtype_of_text="f2"):
    s = Store(path)
    assert s.splits == {k: len(v) for k, v in expected.items() if v}
    for split, utterances in expected.items():
        data = s[split]
        assert data.id.tolist() == [u[0] for u in utterances]
        assert np.allclose(data.intensity, [u[1] for u in utterances], atol=1e-6)
        for i, (_, _, x) in enumerate(utterances):
            got = data.batch([i])
            for m, v in x.items():
                assert data.lengths[m][i] == len(v)
                if len(v):
                    assert np.allclose(
                        got.x[m][0].numpy(),
                        v.astype(dtype_of_text) if m == "t" else v,
                        rtol=1e-5,
                        atol=1e-5,
                    ), (split, i, m)


def random_videos(folder, n=6, seed=0, rows=40):
    folder.mkdir(parents=True)
    rng, videos = np.random.default_rng(seed), {k: {} for k in FILES}

    def times(n, long=0.5, order=True):
        a = rng.integers(0, 60, n) / 10  # tenths, so that borders coincide
        t = np.stack([a, a + rng.integers(0, 10, n) / 10 * long], 1)
        t[rng.random(n) < 0.05] = nan
        t[rng.random(n) < 0.05] *= -1
        return np.sort(t, 0) if order else t

    for i in range(n):
        v = f"v{i}"
        for k, d in (("t", 300), ("v", 35), ("a", 74)):
            x = rng.normal(size=(rows, d)).astype(rng.choice(["f4", "f8"]))
            x[rng.random(x.shape) < 0.02] = rng.choice([nan, inf, -inf])
            if rng.random() < 0.85:
                videos[k][v] = times(rows, 2 * rng.random(), rng.random() < 0.5), x
        videos["words"][v] = (
            times(rows),
            np.array([b"sp", b"word"], "S32")[rng.integers(0, 2, rows)][:, None],
        )
        videos["labels"][v] = (
            times(5, 3, False),
            np.c_[rng.uniform(-3, 3, 5), rng.uniform(0, 3, (5, 6))].astype("f4"),
        )
    for k, (file, root) in FILES.items():
        write_file(folder / f"CMU_MOSEI_{file}.csd", root, videos[k])
    return folder
