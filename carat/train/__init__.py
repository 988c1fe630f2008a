"One run: configuration, optimiser, loop, run folder, predictions."

from .loop import *  # noqa: F403
