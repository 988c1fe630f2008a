"""How long the cells are that readers see: `python -m book.measure` prints a line for each chapter.

A cell counts where its code is open when the page opens, and a line where it holds something. The
limits hold for the whole book: a median of 6 lines, fewer than 15 lines in 90% of the cells, and
no open line over 100 characters. `problems()` says where they are not kept."""

from dataclasses import dataclass

import numpy as np

from . import notebooks, read_notebook, reader, shown

MEDIAN, MOST, SHARE = 6, 15, 0.9  # lines; fewer lines than MOST in SHARE of the cells
WIDEST = 100  # characters of a line: the column has room for them


@dataclass
class Measures:
    "What is measured of one chapter, or of the whole book."

    name: str
    lines: list  # of each open cell
    wide: list  # open lines that have more than WIDEST characters
    words: int
    minutes: int

    @property
    def row(self):
        lines = self.lines or [0]
        return (
            f"{self.name:22} {len(self.lines):5} {np.median(lines):7.0f} "
            f"{np.percentile(lines, 90):7.0f} {len(self.wide):6} {self.words:7,} {self.minutes:8,}"
        )


HEAD = (
    f"{'chapter':22} {'cells':>5} {'median':>7} {'90%':>7} {'wide':>6} {'words':>7} {'minutes':>8}"
)


def measured(path):
    "The measures of a notebook."
    cells = reader.for_readers(read_notebook(path)).cells
    open_cells = [c.source for c in cells if shown.is_open(c)]
    wide = [line for source in open_cells for line in source.split("\n") if len(line) > WIDEST]
    words = sum(shown.words_of(c.source) for c in cells if c.cell_type == "markdown")
    lines = [shown.lines_of(source) for source in open_cells]
    return Measures(path.stem, lines, wide, words, shown.minutes(cells))


def whole(chapters):
    "The measures of all chapters together."
    lines = [n for c in chapters for n in c.lines]
    wide = [line for c in chapters for line in c.wide]
    return Measures(
        "the book", lines, wide, sum(c.words for c in chapters), sum(c.minutes for c in chapters)
    )


def problems(chapters):
    "Which limits the book does not keep, a line each."
    book = whole(chapters)
    if (median := np.median(book.lines)) > MEDIAN:
        yield f"the median of the open cells is {median:.0f} lines, not {MEDIAN}"
    if (share := np.mean(np.array(book.lines) < MOST)) < SHARE:
        yield f"{share:.1%} of the open cells have fewer than {MOST} lines, not {SHARE:.0%}"
    for c in chapters:
        for line in c.wide:
            yield f"{c.name}: {len(line)} characters in {line.strip()[:60]!r}"


def main():
    chapters = [measured(path) for path in notebooks()]
    print(HEAD)
    for chapter in [*chapters, whole(chapters)]:
        print(chapter.row)
    print("\n".join(problems(chapters)) or "all limits are kept")


if __name__ == "__main__":
    main()
