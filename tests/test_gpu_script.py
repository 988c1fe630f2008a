"""bench/gpu.sh runs on a machine that is seldom at hand, so what it names is checked here."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from carat.study.studies import find_study, read_study
from carat.train.config import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
PARTS = (1, 2, 3)


def script(*args, **environment):
    "What bench/gpu.sh does in a fresh environment."
    given = {**os.environ, "PYTHON": sys.executable, **environment}
    command = ["bash", str(ROOT / "bench/gpu.sh"), *map(str, args)]
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=100)


@cache
def commands(part):
    "The commands of a part, as lists of words."
    done = script(part, "OUT", DRY="1", DEVICE="cuda")
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


@cache
def text(program):
    "What a program says of its options."
    if program[0] == "carat.cli":
        how = [sys.executable, "-m", *program, "--help"]
        given = {**os.environ, "COLUMNS": "200"}
        return subprocess.run(how, env=given, cwd=ROOT, capture_output=True, text=True).stdout
    return Path(program[0]).read_text()


def parsed(words):
    "The program of a command, with its subcommands, and the options that it is given."
    if words[1] == "-m":
        subcommands = words[3 : 5 if words[3] == "prepare" else 4]
        return (words[2], *subcommands), words[3 + len(subcommands) :]
    return (words[1],), words[2:]


@pytest.mark.parametrize("part", PARTS)
def test_every_option_exists(part):
    assert commands(part)
    for words in commands(part):
        program, rest = parsed(words)
        known = text(program)
        if program[0].endswith("cost.py"):  # what it does not know goes to step.py
            known += (ROOT / "bench/step.py").read_text()
        for option in [w for w in rest if w.startswith("--")]:
            if option.startswith("--model."):
                continue
            assert re.search(re.escape(option) + r'["\s,]', known), (program, option)


def test_the_study_exists_and_has_a_twin_and_the_size():
    (words,) = [w for w in commands(3) if "study" in w]
    find_study(words[4])
    study = read_study(words[4], words[words.index("--size") + 1])
    assert "twin" in study.stores["twin"]


def test_the_settings_of_training_are_valid():
    TrainConfig.preset("carat", "paper", precision="bfloat16", compile=True, epochs=20)


def test_all_parts_measure_what_the_design_asks_for():
    said = [" ".join(words) for part in PARTS for words in commands(part)]
    assert sum("cost.py" in line for line in said) == 4
    assert sum("--compile" in line and "cost.py" in line for line in said) == 2
    assert any("--seeds 1 2 3 4 5 6 7 8 9 10 --jobs 10" in line for line in said)
    assert any("--epochs 20" in line and "--seeds" not in line for line in said)
    assert any("notebooks.py" in line and "--names" not in line for line in said)
    assert any("carat.cli study" in line and "--size full" in line for line in said)


def test_without_a_gpu_it_refuses_in_a_sentence(tmp_path):
    done = script(1, tmp_path, WORK=str(tmp_path / "work"), CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert "sees no GPU" in done.stderr and done.stderr.count("\n") == 1


@pytest.fixture
def gpu(monkeypatch):
    "bench/gpu.py as a module, on the CPU."
    monkeypatch.setenv("DEVICE", "cpu")
    spec = importlib.util.spec_from_file_location("gpu", ROOT / "bench/gpu.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu", module)  # where its dataclass looks for types
    spec.loader.exec_module(module)
    return module


def test_a_failed_and_a_slow_step_do_not_stop_the_others(gpu, tmp_path):
    part, found = gpu.Part(1, tmp_path), tmp_path / "found.json"
    kept = f"open({str(found)!r}, 'w').write('partial'); import time; time.sleep(60)"
    steps = [
        gpu.Step("fails", [sys.executable, "-c", "raise SystemExit(3)"], ()),
        gpu.Step("lacks", [sys.executable, "-c", ""], ("no_such_module",)),
        gpu.Step("slow", [sys.executable, "-c", kept], (), 5.5, found),
        gpu.Step("fine", [sys.executable, "-c", "print('said by fine')"], ()),
    ]
    steps[2].after = lambda step: step.figures.append(step.found.read_text())
    for step in steps:
        part.run(step)
    assert part.close() == 1
    assert [s.status for s in steps] == ["failed", "left out", "stopped", "done"]
    assert steps[1].figures == ["for want of no_such_module"] and steps[2].figures == ["partial"]
    report = json.loads((tmp_path / "gpu_part1.json").read_text())
    assert [s["status"] for s in report["steps"]] == [s.status for s in steps]
    assert "said by fine" in (tmp_path / "gpu_part1.log").read_text()


def test_no_step_starts_when_the_time_of_a_part_is_up(gpu, tmp_path):
    part = gpu.Part(2, tmp_path)
    part.end = 0
    late = gpu.Step("late", [sys.executable, "-c", "raise SystemExit(1)"], ())
    part.run(late)
    assert late.status == "late" and part.close() == 1
