"One run: configuration, optimiser, loop, run folder, predictions."

from ..system import make_model
from .config import TrainConfig
from .loop import TrainingLog, fit, train_epoch
from .optim import lr_scale, make_optimizer, set_rates
from .predict import Predictions, check_match, evaluate, opened, predict, predict_split
from .run import Run, check_free, load_run, record_result

__all__ = [
    "Predictions",
    "Run",
    "TrainConfig",
    "TrainingLog",
    "check_free",
    "check_match",
    "evaluate",
    "fit",
    "load_run",
    "lr_scale",
    "make_model",
    "make_optimizer",
    "opened",
    "predict",
    "predict_split",
    "record_result",
    "set_rates",
    "train_epoch",
]
