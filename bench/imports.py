"""Import a file of full size and say what it took.

    python bench/imports.py FORMAT FOLDER [--rows N] [--layout list|array] [--dtype f4|f8] [--keep]

writes a synthetic file of that format into FOLDER (true sizes, widths and lengths; nothing is held
in memory), runs `carat prepare` on it in a process of its own, and prints one line of JSON: bytes
of the files, wall time, peak memory of that process, bytes of the store. Everything is deleted
afterwards, unless --keep is given. A format is a function here.
"""

import argparse
import json
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
import time
import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from carat.data.benchmarks import M3ED_COUNTS, M3ED_LABELS
from carat.data.twins.m3ed import emotion_weights
from carat.data.twins.mosei import plan_twin

WIDTHS = {"t": 300, "v": 35, "a": 74}
EMOTIONS = ("happiness", "sadness", "anger", "disgust", "fear", "surprise")


# ---- pickles, written without holding them
# A dictionary or list is opened and closed by hand, and what is in it is a pickle without its first
# and last instruction.


def fragment(value) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def array_start(shape, dtype, size, protocol) -> bytes:
    "The program of an array up to its content of `size` bytes."
    letter = b"C\x01b" if protocol > 2 else b"c_codecs\nencode\nX\x01\0\0\0bX\x06\0\0\0latin1\x86R"
    content = (
        b"\x8e" + struct.pack("<Q", size)
        if protocol > 2
        else b"c_codecs\nencode\nX" + struct.pack("<I", size)
    )
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
        + letter
        + b"\x87R(K\x01("
        + b"".join(b"J" + struct.pack("<i", n) for n in shape)
        + b"tcnumpy\ndtype\nX\x02\0\0\0"
        + dtype.encode()
        + b"\x89\x88\x87R(K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + content
    )


def array_end(protocol) -> bytes:
    return b"tb" if protocol > 2 else b"X\x06\0\0\0latin1\x86Rtb"


def write_array(f, blocks, shape, dtype, protocol):
    """One array of blocks of rows, which `blocks()` makes anew each time.

    In protocol 2 bytes are letters, of one byte or two, which have to be counted first.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if protocol == 2:
        size += sum(int((b.view(np.uint8) > 127).sum()) for b in blocks())
    f.write(array_start(shape, dtype, size, protocol))
    for b in blocks():
        f.write(b.tobytes() if protocol > 2 else b.tobytes().decode("latin-1").encode("utf-8"))
    f.write(array_end(protocol))


# ---- what is in them


class Speech:
    """Synthetic utterances of the real lengths, the same for the same split.

    Words of a vocabulary, faces and voices cut from long recordings.
    """

    def __init__(self, rows):
        rng = np.random.default_rng(0)
        self.words, self.long = (
            rng.normal(size=(20000, 300)).astype("f4") * 0.3,
            {m: rng.normal(size=(20000, WIDTHS[m])).astype("f4") for m in "va"},
        )
        self.plan = {s: p for s, p in plan_twin(rows).items()}

    def blocks(self, split, m, steps, dtype, fast=1, n=256):
        "Padded rows (n, steps, d); a face or voice has `fast` frames a word."
        lengths, k = self.plan[split].lengths, len(split)
        for i in range(0, len(lengths), n):
            x = np.zeros((min(n, len(lengths) - i), steps, WIDTHS[m]), dtype)
            for j, length in enumerate(lengths[i : i + n]):
                rng = np.random.default_rng((k, i + j))
                if m == "t":
                    v = self.words[rng.integers(0, len(self.words), length)]
                else:
                    v = self.long[m][
                        (at := int(rng.integers(0, 15000))) : at + min(steps, int(length * fast))
                    ]
                x[j, : min(steps, len(v))] = v[:steps]
                if m == "a" and j % 50 == 0:
                    x[j, 0, 3] = -np.inf
            yield x

    def tgt(self, split):
        return [[2, *(4 + np.flatnonzero(y > 0)).tolist(), 3] for y in self.plan[split].y]


def write_aligned(path, speech, layout="list", dtype="f4"):
    "train_valid_test.pt: a zip archive of torch.save, protocol 2."
    with zipfile.ZipFile(path, "w") as z:
        with z.open("archive/data.pkl", "w", force_zip64=True) as f:
            f.write(b"\x80\x02}(")
            for s, plan in speech.plan.items():
                f.write(fragment(s) + b"}(")
                for key, m in (("src-text", "t"), ("src-visual", "v"), ("src-audio", "a")):
                    f.write(fragment(key))
                    if layout == "array":
                        write_array(
                            f,
                            partial(speech.blocks, s, m, 60, dtype),
                            (len(plan.lengths), 60, WIDTHS[m]),
                            dtype,
                            2,
                        )
                    else:
                        f.write(b"](")
                        for b in speech.blocks(s, m, 60, dtype):
                            f.write(b"".join(fragment(v) for v in b))
                        f.write(b"e")
                f.write(fragment("tgt") + fragment(speech.tgt(s)) + b"u")
            names = ("<blank>", "<unk>", "<s>", "</s>", *EMOTIONS)
            f.write(
                fragment("dict")
                + fragment({"src": {}, "tgt": {n: i for i, n in enumerate(names)}})
                + fragment("settings")
                + fragment(argparse.Namespace(max_text_seq_len=60))
                + b"u."
            )


def aligned(folder, rows, layout, dtype):
    write_aligned(folder / "train_valid_test.pt", Speech(rows), layout, dtype)
    return ["mosei", "--aligned", folder / "train_valid_test.pt"]


def unaligned(folder, rows, layout, dtype):
    "mosei_senti_data_noalign.pkl, protocol 4, and the aligned file with its emotions."
    speech = Speech(rows)
    write_aligned(folder / "train_valid_test.pt", speech)
    with open(folder / "mosei_senti_data_noalign.pkl", "wb") as f:
        f.write(b"\x80\x04}(")
        for s, plan in speech.plan.items():
            n = len(plan.lengths)
            f.write(fragment(s) + b"}(")
            for key, m, steps, fast in (
                ("text", "t", 50, 1),
                ("vision", "v", 500, 8),
                ("audio", "a", 500, 20),
            ):
                f.write(fragment(key))
                write_array(
                    f,
                    partial(speech.blocks, s, m, steps, dtype, fast, 64),
                    (n, steps, WIDTHS[m]),
                    dtype,
                    4,
                )
            f.write(
                fragment("labels")
                + fragment(np.zeros((n, 1, 1)))
                + fragment("id")
                + fragment(np.array([[f"{s}{i // 7}", f"{i}.5", f"{i + 3}.25"] for i in range(n)]))
                + b"u"
            )
        f.write(b"u.")
    return [
        "mosei",
        "--unaligned",
        folder / "mosei_senti_data_noalign.pkl",
        "--labels",
        folder / "train_valid_test.pt",
    ]


def write_csd(folder, rows, dtype):
    """The files of the CMU-MultimodalSDK for 65 hours in 3,228 videos.

    Words, FACET at 30 rows a second, COVAREP at 100, the transcript, labels of `rows` segments.
    """
    import h5py

    rng, videos = np.random.default_rng(0), round(3228 * rows / 22856)
    names, per_second = [f"video{i:04}" for i in range(videos)], 22856 / (65 * 3600)
    seconds = 5 + rng.gamma(2, (65 * 3600 / 3228 - 5) / 2, videos)
    (folder / "folds.json").write_text(
        json.dumps(
            {
                "train": names[: int(0.7 * videos)],
                "valid": names[int(0.7 * videos) : int(0.8 * videos)],
                "test": names[int(0.8 * videos) :],
            }
        )
    )
    for file, root, rate, d in (
        ("TimestampedWordVectors", "glove_vectors", 2.6, 300),
        ("VisualFacet42", "FACET 4.2", 30, 35),
        ("COVAREP", "COVAREP", 100, 74),
        ("TimestampedWords", "words", 2.6, 1),
        ("Labels", "All Labels", 0, 7),
    ):
        pool = rng.standard_normal((20_000 if d > 7 else 1, d), np.float32).astype(dtype)
        if root == "COVAREP":
            pool[rng.random(pool.shape) < 0.002] = -np.inf
        with h5py.File(folder / f"CMU_MOSEI_{file}.csd", "w") as f:
            for name, long in zip(names, seconds, strict=True):
                n = int(long * rate) if rate else max(1, rng.poisson(long * per_second))
                cuts = np.arange(n + 1) / rate if rate else np.sort(rng.uniform(0, long, n + 1))
                if root == "words":
                    x = np.full((n, 1), b"word", "S32")
                elif rate:
                    x = np.take(
                        pool, np.arange(i := int(rng.integers(20_000)), i + n), axis=0, mode="wrap"
                    )
                else:
                    x = np.c_[
                        rng.uniform(-3, 3, n),
                        rng.integers(1, 10, (n, 6)) / 3 * (rng.random((n, 6)) < 0.22),
                    ]
                f[f"{root}/data/{name}/intervals"], f[f"{root}/data/{name}/features"] = (
                    np.stack([cuts[:-1], cuts[1:]], 1),
                    x,
                )
            f[f"{root}/metadata/root name"] = np.array([json.dumps(root)], object)


def csd(folder, rows, layout, dtype, more=()):
    write_csd(folder, rows, dtype)
    return ["mosei", "--csd", folder, "--folds", folder / "folds.json", *more]


def csd_unaligned(folder, rows, layout, dtype):
    return csd(folder, rows, layout, dtype, ["--no-word-aligned"])


class Dialogues:
    "Synthetic dialogues of M3ED's real lengths, 24,437 utterances in 990: ids, emotions, features."

    def __init__(self, rows):
        rng, self.ids, self.labels = np.random.default_rng(0), {}, {}
        for s, n in M3ED_COUNTS.items():
            lengths = rng.permutation(np.repeat(*n["lengths"]))[
                : max(1, round(rows * n["sets"].sum() / 990))
            ]
            self.ids[s] = [f"{s}series{i // 18}_{i % 18 + 1}" for i in range(len(lengths))]
            self.labels |= {
                d: rng.choice(7, k, p=emotion_weights()).tolist()
                for d, k in zip(self.ids[s], lengths, strict=True)
            }

    def rows(self, d, width, dtype):
        return (
            np.random.default_rng((len(d), sum(map(ord, d)), width))
            .normal(size=(len(self.labels[d]), width))
            .astype(dtype)
        )


def m3ed(folder, rows, layout, dtype):
    """The ten items, protocol 2, and annotation.json.

    A vector for each utterance (layout list), or an array for each dialogue.
    """
    data = Dialogues(rows)

    def named(what):
        return {d: [what(d, t) for t in range(len(e))] for d, e in data.labels.items()}

    with open(folder / "features.pkl", "wb") as f:
        f.write(
            b"\x80\x02]("
            + fragment(list(data.labels))
            + fragment(named(lambda d, t: "AB"[t % 2]))
            + fragment(data.labels)
        )
        for width in (768, 1024, 342):
            f.write(b"}(")
            for d in data.labels:
                f.write(
                    fragment(d)
                    + fragment(
                        list(data.rows(d, width, dtype))
                        if layout == "list"
                        else data.rows(d, width, dtype)
                    )
                )
            f.write(b"u")
        f.write(
            fragment(named(lambda d, t: f"sentence {t}"))
            + b"".join(fragment(v) for v in data.ids.values())
            + b"e."
        )

    def say(d, t):
        return {
            "StartTime": "",
            "EndTime": "",
            "Text": f"words {t} of {d}",
            "Speaker": "AB"[t % 2],
            "EmoAnnotation": {"final_main_emo": M3ED_LABELS[data.labels[d][t]]},
        }

    (folder / "annotation.json").write_text(
        json.dumps(
            {
                "series": {
                    d: {
                        "SpeakerInfo": {},
                        "Dialog": {f"{d}_{t + 1}": say(d, t) for t in range(len(e))},
                    }
                    for d, e in data.labels.items()
                }
            }
        )
    )
    return [
        "m3ed",
        "--features",
        folder / "features.pkl",
        "--annotation",
        folder / "annotation.json",
    ]


def m3ed_padded(folder, rows, layout, dtype):
    "m3ed_data_60.pt: an archive of torch.save, protocol 2, with the published reader's names."
    data = Dialogues(rows)

    def pad(x):
        return np.concatenate([x[:60], np.zeros((max(0, 60 - len(x)), x.shape[1]), x.dtype)])

    with (
        zipfile.ZipFile(folder / "m3ed_data_60.pt", "w") as z,
        z.open("archive/data.pkl", "w", force_zip64=True) as f,
    ):
        f.write(b"\x80\x02}(")
        for s, ids in data.ids.items():
            f.write(fragment(s) + b"}(")
            for key, width in (("src-text", 768), ("src-visual", 1024), ("src-audio", 342)):
                f.write(fragment(key) + b"](")
                for d in ids:
                    f.write(fragment(pad(data.rows(d, width, dtype))))
                f.write(b"e")
            f.write(
                fragment("tgt")
                + fragment([[2, *sorted({4 + e for e in data.labels[d]}), 3] for d in ids])
                + fragment("len_list")
                + fragment([len(data.labels[d]) for d in ids])
                + b"u"
            )
        f.write(
            fragment("dict")
            + fragment(
                {
                    "tgt": {
                        n: i
                        for i, n in enumerate(("<blank>", "<unk>", "<s>", "</s>", *M3ED_LABELS))
                    }
                }
            )
            + fragment("settings")
            + fragment(argparse.Namespace(n=60))
            + b"u."
        )
    return ["m3ed", "--features", folder / "m3ed_data_60.pt"]


ROWS = {"m3ed": 990, "m3ed-padded": 990}  # samples of a file of full size; of MOSEI 22,856
FORMATS = {  # name: write(folder, rows, layout, dtype) -> the arguments of `carat prepare`
    "aligned": aligned,
    "unaligned": unaligned,
    "csd": csd,
    "csd-unaligned": csd_unaligned,
    "m3ed": m3ed,
    "m3ed-padded": m3ed_padded,
}


def size(path: Path) -> int:
    return (
        path.stat().st_size
        if path.is_file()
        else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    )


def measure(name, folder, rows=22856, layout="list", dtype="f4", keep=False) -> dict:
    "Write the file, import it in a process of its own, and say what that took."
    source = Path(folder) / f"bench-{name}-{os.getpid()}"
    source.mkdir(parents=True)
    store = source.with_suffix(".h5")
    try:
        arguments = FORMATS[name](source, rows, layout, dtype)
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "carat.cli",
                "prepare",
                *map(str, arguments),
                "--out",
                str(store),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise SystemExit(f"carat prepare ended with status {done.returncode}")
        print(done.stdout, file=sys.stderr)
        return dict(
            format=name,
            rows=rows,
            layout=layout,
            dtype=dtype,
            source_GB=round(size(source) / 1e9, 2),
            wall_s=round(wall, 1),
            cpu_s=round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
            peak_MB=round(after.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6),
            store_GB=round(size(store) / 1e9, 3),
        )  # ru_maxrss: the largest child so far, here the only one
    finally:
        if not keep:
            shutil.rmtree(source, ignore_errors=True)
            for p in store.parent.glob(f"{store.stem}.*"):
                p.unlink()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("folder", type=Path, help="where there is room")
    parser.add_argument("--rows", type=int, help="samples; those of the data set where not given")
    parser.add_argument(
        "--layout", choices=("list", "array"), default="list", help="of the aligned file"
    )
    parser.add_argument("--dtype", choices=("f4", "f8"), default="f4")
    parser.add_argument("--keep", action="store_true", help="keep the files and the store")
    a = parser.parse_args()
    print(
        json.dumps(
            measure(
                a.format, a.folder, a.rows or ROWS.get(a.format, 22856), a.layout, a.dtype, a.keep
            )
        )
    )
