"""Text that the book writes about itself: in a page's source a block

    ```{made} equation-map
    ```

becomes the map of the equations, and so on for each function of PARTS. What they say comes from
`facts`, never from a list."""

import re

from . import api, cite, equation_map, status, symbols

PARTS = {
    "equation-map": equation_map.equation_map,
    "symbol-index": symbols.symbol_index,
    "versions": status.versions,
    "notebooks": status.notebook_runs,
    "runs": status.recorded_runs,
    "cite-book": cite.cite_book,
    "cite-paper": cite.cite_paper,
    "api": api.overview,
    "module": api.module_page,
}
BLOCK = re.compile(r"^(`{3,})\{made\} ([\w-]+)(?: +(\S+))?[ \t]*\n\1[ \t]*$", re.M)


def fill(text):
    "The text with its `made` blocks filled in, and whether there were any."
    return BLOCK.subn(lambda m: PARTS[m[2]](*([m[3]] if m[3] else [])), text)
