"""What the tests of the systems share: recorded steps of published code, which only the maintainers
have. They lie in the folder `peers` of the data folder; without them a test is skipped."""

import numpy as np
import pytest

from carat.data.store import data_folder


def recorded_case(name: str) -> dict:
    "All arrays of a recorded step, such as `mult` or `sgm_ge`."
    folder = data_folder()
    path = folder and folder / "peers" / f"{name}_case.npz"
    if not (path and path.exists()):
        pytest.skip(f"CARAT_DATA names no folder with peers/{name}_case.npz")
    with np.load(path) as file:
        return dict(file)
