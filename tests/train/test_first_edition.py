"Run folders that the first edition wrote still load, and predict what they predicted then."

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from carat.core import CaratError
from carat.data.store import Store
from carat.train import evaluate, load_run, predict

HERE = Path(__file__).parent / "first_edition"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("first") / "store.h5"
    packed = Path(__file__).parents[1] / "data/first_edition.h5.gz"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return Store(path)


@pytest.mark.parametrize("name, kind", [("carat", "carat"), ("carat-ctc", "aligned")])
def test_an_old_run_predicts_what_it_did(store, name, kind):
    run, then = load_run(HERE / name, "cpu"), json.loads((HERE / f"{name}.json").read_text())
    found = predict(run, store, then["split"])
    np.testing.assert_allclose(found.scores, then["scores"], atol=1e-6)
    assert np.array_equal(found.leaned, then["leaned"])
    assert evaluate(run, store, "valid")["f1"] == then["valid"]["f1"]
    assert run.info["model"]["name"] == name and kind in type(run.model).__module__


def test_a_run_of_a_later_version_is_refused(tmp_path):
    shutil.copytree(HERE / "carat", tmp_path / "run")
    config = json.loads((tmp_path / "run/config.json").read_text())
    (tmp_path / "run/config.json").write_text(json.dumps({**config, "format": 99}))
    with pytest.raises(CaratError, match="version 99.*update the package"):
        load_run(tmp_path / "run")
