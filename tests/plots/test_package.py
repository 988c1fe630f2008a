"What the package `carat.plots` offers as a whole."

import subprocess
import sys
from importlib import import_module

from book import ROOT
from carat import plots

MODULES = ("style", "tables", "figure", "clip", "figures", "narrow", "picture")


def test_every_public_name_is_offered_once_and_by_its_own_module():
    offered = {}
    for name in MODULES:
        module = import_module(f"carat.plots.{name}")
        for public in module.__all__:
            assert public not in offered, f"{public} is exported twice"
            offered[public] = getattr(module, public)
    assert sorted(plots.__all__) == sorted(offered)
    assert all(getattr(plots, name) is value for name, value in offered.items())


def test_no_function_hides_a_module():
    for name in MODULES:
        assert getattr(plots, name) is import_module(f"carat.plots.{name}")


def test_plots_need_no_torch():
    code = "import sys; from carat import plots; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
