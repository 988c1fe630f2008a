"""Pages at the addresses that chapters had in the first edition, each leading to where it is now.

A place within a page (an equation, a figure, a cell) is led to as well, where it is still there."""

import html
from pathlib import Path

from . import toc_pages

# the chapter's name in the first edition -> the number of the chapter that goes on with it
MOVED = {
    "01_batch": 17,
    "02_store": 81,
    "03_synthetic": 12,
    "04_mosei": 10,
    "05_m3ed": 11,
    "06_import": 83,
    "07_import_mosei": 86,
    "08_import_csd": 88,
    "09_import_m3ed": 89,
    "10_encoder": 21,
    "11_label_attention": 22,
    "12_reconstruction": 23,
    "13_max_pooling": 24,
    "14_contrast": 25,
    "15_prototypes": 26,
    "16_shuffle": 27,
    "17_carat": 28,
    "18_alignment": 75,
    "19_reference": 41,
    "20_metrics": 16,
    "21_training": 33,
    "22_train_mosei": 37,
    "23_train_m3ed": 38,
    "24_inside": 39,
    "25_speed": 76,
    "26_command_line": 70,
    "27_many_devices": 72,
    "90_paper_and_code": 42,
    "91_api": "api",
}
PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="robots" content="noindex">
<title>Moved to {new}</title>
<link rel="canonical" href="{new}.html">
<script>
location.replace("{new}.html" + location.hash
  .replace("#cell-{old_anchor}-", "#cell-{new_anchor}-")
  .replace("#fig-{old_number}-", "#fig-{new_number}-"));
</script>
<meta http-equiv="refresh" content="0; url={new}.html">
</head>
<body><p>This page has moved to <a href="{new}.html">{new}</a>.</p></body>
</html>
"""


def targets():
    "{name in the first edition: name now} of the chapters that have moved; None where one is gone."
    names = [page.removeprefix("nbs/") for page in toc_pages()]
    by_number = {name[:2]: name for name in names if name[:2].isdigit()}
    by_number["api"] = "api" if "api" in names else None
    return {old: by_number.get(str(new)) for old, new in MOVED.items()}


def write(out):
    "Write the pages that lead on."
    for old, new in targets().items():
        if new is None:
            continue
        text = PAGE.format(
            new=html.escape(new),
            old_anchor=old.replace("_", "-"),
            new_anchor=new.replace("_", "-"),
            old_number=old[:2],
            new_number=new[:2],
        )
        (Path(out) / "nbs" / f"{old}.html").write_text(text, encoding="utf-8")
