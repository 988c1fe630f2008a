"Studies whose stores have the rest of each video: made once, after the split, whole or not at all."

import numpy as np
import pytest

from carat import cli
from carat.core import CaratError
from carat.data.rest import with_rest
from carat.data.store import Store
from carat.data.twins.mosei import write_twin
from carat.data.writer import StoreWriter
from carat.study.studies import find_study, hold_out, load_judged, make_stores, read_study

STUDY = """
title = "The rest of the video, for tests"
reference = "without"
seeds = [1]

[stores.held]
file = "twin.h5"
hold_out = 0.3
rest = true

[stores.filed]
file = "twin.h5"
rest = true

[stores.made]
twin = {{ size = 100, seed = 2 }}
rest = {rest}

[stores.plain]
twin = {{ size = 100, seed = 2 }}

[shared]
kind = "br"

[rows.without]
label = "without"
modalities = ["t", "v", "a"]

[rows.with]
label = "with the rest"
stores = ["held", "filed"]
modalities = ["t", "v", "a", "rest"]
"""


@pytest.fixture
def study(tmp_path):
    write_twin(tmp_path / "twin.h5", 120, seed=1, missing=0.2)
    path = tmp_path / "rest.toml"
    path.write_text(STUDY.format(rest="true"))
    return path


def test_stores_are_made_once(study, tmp_path):
    said, out = [], tmp_path / "out"
    stores = make_stores(read_study(study), out, tmp_path, said.append)
    assert sum("adding the rest of each video" in line for line in said) == 3
    before = {p: p.read_bytes() for p in (out / "stores").iterdir()}
    again = make_stores(read_study(study), out, tmp_path, said.append)
    assert again == stores and len(said) == 6  # and videos held out, and two twins made
    assert {p: p.read_bytes() for p in (out / "stores").iterdir()} == before
    other = make_stores(read_study(study), tmp_path / "other", tmp_path, said.append)
    assert [p.name for p in other.values()] == [p.name for p in stores.values()]
    for name in stores:
        assert other[name].read_bytes() == stores[name].read_bytes()


def test_what_the_stores_hold(study, tmp_path):
    stores = make_stores(read_study(study), tmp_path / "out", tmp_path, lambda line: None)
    plain, filed = Store(tmp_path / "twin.h5"), Store(stores["filed"])
    assert filed.fingerprint() == with_rest(plain).fingerprint()
    assert Store(stores["made"]).fingerprint() == with_rest(Store(stores["plain"])).fingerprint()
    assert "rest" not in Store(stores["plain"]).modalities
    held = Store(stores["held"])
    split_first = Store(hold_out(plain, tmp_path / "held.h5", 0.3))
    assert held.fingerprint() == with_rest(split_first).fingerprint()
    assert held.attrs["held_out"] and held.attrs["judged"] == "test"
    videos = [set(held[k].extra("video")) for k in ("train", "valid")]
    assert not videos[0] & videos[1]


def test_held_out_videos_leave_no_trace(study, tmp_path):
    "The rest of a training sample does not change when every held-out video does."
    stores = make_stores(read_study(study), tmp_path / "out", tmp_path, lambda line: None)
    held = Store(stores["held"])
    train = held["train"]
    with StoreWriter(
        tmp_path / "alone.h5", "alone", held.labels, dict(t=300, v=35, a=74), "float16",
        {"video": ("str", ())},
    ) as w:  # fmt: skip
        for here, x in train.blocks(modalities=["t", "v", "a"]):
            more = {"video": train.extra("video")[here]}
            w.add_many("train", train.id[here].tolist(), train.y[here], x, more)
    alone = with_rest(Store(tmp_path / "alone.h5"))["train"]
    with train.opened() as a, alone.opened() as b:
        assert np.array_equal(a["rest"][:], b["rest"])


def test_rows_with_and_without(study, tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["study", str(study), "--out", str(out), "--stores", str(tmp_path), "--jobs", "0"]
    assert cli.main([*argv, "--device", "cpu"]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "6 of 6 runs finished" in said and "with the rest" in said
    found = {p.parts[-4]: {} for p in out.glob("runs/*/*/seed-1/scores.npz")}
    for path in out.glob("runs/*/*/seed-1/scores.npz"):
        found[path.parts[-4]][path.parts[-3].split("-")[0]] = load_judged(path).scores
    for store in ("held", "filed"):
        assert (found[store]["with"] != found[store]["without"]).any()
    assert np.array_equal(found["made"]["without"], found["plain"]["without"])
    assert cli.main([*argv, "--resume"]) == 0
    assert "6 of 6 runs finished" in capsys.readouterr().out


def test_refusals(study, tmp_path):
    study.write_text(STUDY.format(rest="1"))
    with pytest.raises(CaratError, match="rest is 1, which is not of the right kind"):
        read_study(study)
    study.write_text(STUDY.format(rest="false"))
    stores = make_stores(read_study(study), tmp_path / "no", tmp_path, lambda line: None)
    assert "rest" not in Store(stores["made"]).modalities
    like = 'twin = { like = "m3ed", size = 60 }\nrest = true'
    study.write_text(f'[stores.talks]\n{like}\n[rows.br]\nkind = "br"\n')
    with pytest.raises(CaratError, match="does not say which video"):
        make_stores(read_study(study), tmp_path / "m3ed", tmp_path, lambda line: None)
    assert len(list((tmp_path / "m3ed/stores").iterdir())) == 1


def test_the_packages_own_study_has_it():
    study = read_study(find_study("mosei_rest"))
    assert study.stores["mosei"]["rest"] is True
    assert study.rows["text"].modalities == ("t",) and "rest" in study.rows["text_rest"].modalities
