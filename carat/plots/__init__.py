"Figures of plain arrays, in one style; they know no model."

from .figures import *  # noqa: F403
