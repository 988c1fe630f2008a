"""Several emotions at once, from what people say, show and sound like.

The names that most work begins with are here; they are loaded when they are first used, so that
`import carat` is fast."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # editors and type checkers know the names, too
    from .core import CaratError as CaratError
    from .data.memory import MemoryStore as MemoryStore
    from .data.store import Store as Store
    from .systems.carat import CARAT as CARAT
    from .systems.carat import CaratConfig as CaratConfig
    from .train import TrainConfig as TrainConfig
    from .train import evaluate as evaluate
    from .train import fit as fit
    from .train import load_run as load_run
    from .train import make_model as make_model
    from .train import predict as predict

__version__ = "0.2.0"

_HOMES = {
    "CARAT": "systems.carat",
    "CaratConfig": "systems.carat",
    "CaratError": "core",
    "MemoryStore": "data.memory",
    "Store": "data.store",
    "TrainConfig": "train",
    "evaluate": "train",
    "fit": "train",
    "load_run": "train",
    "make_model": "train",
    "predict": "train",
}

__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name):
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
