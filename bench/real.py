"""A store of the real MOSEI utterances that this project is checked against.

    python bench/real.py FOLDER --out mosei.h5 [--no-text] [--overwrite]

FOLDER holds `mosei_real_{train,valid,test}.h5`, at least one of them, in a layout of this project's
own: words as vectors of a language model for every utterance, vision and audio for the share of
videos that has them, and intensities from 0 to 3 as labels. Where `mosei_text_emotions_{split}.csv`
lies beside them, it gives the transcripts: each line must be the same utterance, with the same
intensities, as the row of features that it is attached to.
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from tqdm.auto import tqdm

from carat.core import SPLITS, CaratError, as_text, guarded
from carat.data.arrays import check_offsets
from carat.data.writer import StoreWriter

MODALITIES = ("t", "v", "a")
PARTS = [f"{m}/{part}" for m in MODALITIES for part in ("values", "offsets")]
SOURCE = "CMU-MOSEI, real utterances: words of a language model, OpenFace 2 and COVAREP means"
RELEASE = "Use the files of one release, or leave out the texts."


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    "One of the files, open."
    with guarded(f"cannot read {path}", "Copy the file again."):
        with h5py.File(path, "r", locking=False) as f:
            yield f


def read_table(path: Path, labels: Sequence[str]) -> list[dict]:
    "The rows of a table of transcripts."
    csv.field_size_limit(1 << 24)
    with guarded(f"cannot read {path}", "Copy it again, or leave out the texts."):
        with open(path, encoding="utf-8", newline="") as f:
            reader = csv.DictReader(f)
            columns = reader.fieldnames or ()
            lacking = [c for c in ("video_id", "clip_id", "text", *labels) if c not in columns]
            if lacking:
                raise CaratError(
                    f"{path}: the column '{lacking[0]}' is not there; it has {reader.fieldnames}. "
                    "Use the file that belongs to the features, or leave out the texts."
                )
            return list(reader)


def transcripts(path: Path, ids: Sequence[str], y: np.ndarray, labels: Sequence[str]) -> list[str]:
    "The texts of a table, once its rows are seen to be those of the features."
    rows = read_table(path, labels)
    if len(rows) != len(ids):
        raise CaratError(f"{path} has {len(rows)} rows and the features have {len(ids)}. {RELEASE}")
    given = np.zeros(y.shape)
    for i, (row, id) in enumerate(zip(rows, ids, strict=True)):
        mine = f"{row['video_id']}[{row['clip_id']}]"
        if mine != id:
            raise CaratError(
                f"{path}, line {i + 2} is utterance '{mine}' and row {i} of the features is "
                f"'{id}'. {RELEASE}"
            )
        with guarded(f"{path}, line {i + 2} ('{id}')", "Intensities are numbers."):
            given[i] = [float(row[c]) for c in labels]
    for i, c in np.argwhere(~(np.abs(given - y) <= 1e-3))[:1]:
        raise CaratError(
            f"{path}, line {i + 2} ('{ids[i]}'): '{labels[c]}' is {given[i, c]:g}, "
            f"and {y[i, c]:g} in the features' file. {RELEASE}"
        )
    return [row["text"] or "" for row in rows]


def find_files(folder: Path) -> dict[str, Path]:
    "{split: file of features}"
    if not folder.is_dir():
        raise CaratError(
            f"there is no folder {folder}. Name the one that holds mosei_real_train.h5."
        )
    files = {k: folder / f"mosei_real_{k}.h5" for k in SPLITS}
    files = {k: path for k, path in files.items() if path.exists()}
    if not files:
        raise CaratError(
            f"{folder} holds no mosei_real_train.h5, mosei_real_valid.h5 or mosei_real_test.h5. "
            "Name the folder with these files."
        )
    return files


def read_head(files: dict[str, Path]) -> tuple[list[str], dict[str, int]]:
    "Labels and widths, which all files must share."
    labels = widths = None
    for path in files.values():
        with opened(path) as f:
            needed = ("id", "y", "video", *PARTS)
            lacking = [key for key in needed if not isinstance(f.get(key), h5py.Dataset)]
            if lacking or "labels" not in f.attrs:
                what = (lacking or ["attribute labels"])[0]
                raise CaratError(
                    f"{path}: '{what}' is not there. Is this the right file? Copy it again."
                )
            mine = [as_text(v) for v in f.attrs["labels"]]
            wide = {m: f[f"{m}/values"].shape[-1] for m in MODALITIES}
            if labels is None:
                labels, widths = mine, wide
            elif (mine, wide) != (labels, widths):
                raise CaratError(
                    f"{path}: labels {mine} and widths {wide}, and the split before has {labels} "
                    f"and {widths}. Use files of one release."
                )
    return labels, widths


def read_scales(path: Path, f: h5py.File, widths: dict[str, int]) -> dict[str, np.ndarray]:
    "What each column of a modality is multiplied with."
    scales = {}
    for m, d in widths.items():
        v = f[f"{m}/scale"][:].astype(np.float32) if f"{m}/scale" in f else np.float32(1)
        if v.shape not in ((), (d,)):
            raise CaratError(
                f"{path}: '{m}/scale' has shape {v.shape}, expected ({d},). Copy the file again."
            )
        scales[m] = v
    return scales


def copy_split(w: StoreWriter, split: str, path: Path, words: Path | None, progress: bool):
    "Bring one file into the store, some utterances at a time."
    with opened(path) as f:
        ids, y = [as_text(v) for v in f["id"][:]], f["y"][:].astype(np.float32)
        n, labels = len(ids), list(w.labels)
        if y.shape != (n, len(labels)):
            raise CaratError(
                f"{path}: labels of shape {y.shape}, and {n} ids and {len(labels)} label names "
                f"need {(n, len(labels))}."
            )
        if f["video"].shape != (n,):
            raise CaratError(
                f"{path}: 'video' has {f['video'].shape[0]} rows and 'id' {n}. Copy the file again."
            )
        offsets = {}
        for m in MODALITIES:
            offsets[m] = check_offsets(str(path), m, n, f[f"{m}/values"], f[f"{m}/offsets"])
        scales = read_scales(path, f, w.modalities)
        extra = {"video": [as_text(v) for v in f["video"][:]]}
        if "text" in w.extras:
            extra["text"] = transcripts(words, ids, y, labels) if words else [""] * n
        with tqdm(total=n, desc=split, unit=" utterances", disable=not progress) as bar:
            for i in range(0, n, 2048):
                j = min(n, i + 2048)
                x = {}
                for m, o in offsets.items():
                    x[m] = f[f"{m}/values"][o[i] : o[j]] * scales[m], np.diff(o[i : j + 1])
                w.add_many(split, ids[i:j], y[i:j], x, {k: v[i:j] for k, v in extra.items()})
                bar.update(j - i)


def prepare_real(
    folder: str | Path,  # holds the files
    out: str | Path,  # the store to make
    text: bool = True,  # keep the transcripts where the folder has them
    overwrite: bool = False,  # replace `out` where it exists
    progress: bool = True,  # show a bar
) -> Path:  # `out`
    """Turn the real MOSEI utterances into a store: words, vision and audio, with their real gaps.

    Raises CaratError where a file is missing, damaged, or does not agree with another.
    """
    folder, out = Path(folder), Path(out)
    files = find_files(folder)
    words = {k: folder / f"mosei_text_emotions_{k}.csv" for k in files if text}
    words = {k: path for k, path in words.items() if path.exists()}
    labels, widths = read_head(files)
    extras = {"video": ("str", ())} | ({"text": ("str", ())} if words else {})
    dtype = {"t": "float16", "v": "float32", "a": "float32"}
    how = dict(dtype=dtype, extras=extras, attrs={"source": SOURCE}, overwrite=overwrite)
    with StoreWriter(out, "MOSEI", labels, widths, **how) as w:
        for k, path in files.items():
            copy_split(w, k, path, words.get(k), progress)
    return out


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="holds mosei_real_train.h5 and its like")
    parser.add_argument("--out", type=Path, required=True, help="the store to make")
    parser.add_argument("--no-text", action="store_true", help="leave out the transcripts")
    parser.add_argument("--overwrite", action="store_true", help="replace the store if it exists")
    a = parser.parse_args()
    try:
        print(prepare_real(a.folder, a.out, not a.no_text, a.overwrite, sys.stderr.isatty()))
    except CaratError as e:
        sys.exit(f"{e}")


if __name__ == "__main__":
    main()
