"""The three parts of bench/gpu.sh, which sets what this program reads from the environment.

A part is a list of steps, each a command in a process of its own. A step gets at most what is left
of the part's nine minutes; one that takes longer is stopped. A step that fails does not stop the
others. OUT holds at any time what was found so far: JSON files for `results/`, and a log.
"""

import argparse
import importlib.util
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

BENCH = Path(__file__).resolve().parent
LIMIT = 9 * 60 - 20  # seconds for the steps of a part; the rest is for stopping and writing down
CARAT = ("torch", "numpy", "scipy", "h5py", "sklearn", "threadpoolctl", "tqdm", "safetensors")
COMMAND = (*CARAT, "tyro")
CHAPTERS = (*COMMAND, "matplotlib", "seaborn", "fastcore")
PACKAGE = {"sklearn": "scikit-learn"}  # where its name is not that of the module

DEVICE, STUDY = os.environ.get("DEVICE", "cuda"), os.environ.get("STUDY", "table1")
WORK, WHEELS = Path(os.environ.get("WORK", "/tmp/carat-gpu")), os.environ.get("WHEELS")
QUICK, DRY = (bool(os.environ.get(name)) for name in ("QUICK", "DRY"))
ON_CPU = DEVICE.startswith("cpu")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

TINY = """--model.layers 1 1 1 --model.d 16 --model.ff 16 --model.heads 2 --model.d-z 8
    --model.d-h 8 --model.queue 256""".split()
TINY_STUDY = """
[stores.twin]
twin = { size = 120, strength = 14, seed = 0 }
[shared]
preset = "small"
training = { epochs = 1 }
[rows.br]
label = "BR"
kind = "br"
[rows.plain]
label = "plain Transformer"
kind = "plain"
"""


@dataclass
class Step:
    "A command, and what came of it."

    name: str
    command: list
    needs: tuple = COMMAND  # modules without which it is left out
    most: float = LIMIT  # seconds
    found: Path | None = None  # the file that the command itself writes as it goes
    after: Callable | None = None  # called with the step: keeps and says what it found
    status: str = ""  # done, failed, stopped (too slow), late (not begun) or left out
    seconds: float = 0.0
    figures: list = field(default_factory=list)  # sentences: what was measured, and its target


def python(program, *more):
    return [sys.executable, str(BENCH / program), *map(str, more)]


def carat(*more):
    return [sys.executable, "-m", "carat.cli", *map(str, more)]


def beside(what, value, unit, target):
    "A measured figure beside the design's target."
    if QUICK or ON_CPU:
        return f"{what}: {value:.3g} {unit} (the target of {target} {unit} is for a GPU, full size)"
    return f"{what}: {value:.3g} {unit}, {'within' if value <= target else 'over'} {target} {unit}"


def write(path, values):
    path.write_text(json.dumps(values, indent=1) + "\n")


# the parts: each yields its steps


def notebooks_and_runs(out):
    "Part 1: all notebooks as tests, 20 epochs of MOSEI's twin, ten seeds side by side."
    some = ["--names", "21_encoder", "96_results"] if QUICK else []
    found = out / "gpu_notebooks.json"
    how = ["--jobs", min(12, CORES), "--json", found, *some]
    command = python("notebooks.py", *how)
    yield Step("notebooks", command, CHAPTERS, 270, found, after=count_notebooks)

    store, size = WORK / "twin.h5", ["--size", 200] if QUICK else []
    made = ["--like", "mosei", "--out", store, "--overwrite", *size]
    yield Step("store", carat("prepare", "twin", *made))
    compiled = []
    if not ON_CPU:
        step = one_run(out, store, "run_compiled", "--compile")
        yield step
        compiled = ["--compile"] if step.status in ("", "done") else []
    seeds = 2 if QUICK else 10
    how = ["--seeds", *range(1, seeds + 1), "--jobs", seeds, "--out", WORK / "seeds", *compiled]
    yield Step("seeds", [*training(store), *map(str, how)], after=lambda s: keep_seeds(s, out))
    yield one_run(out, store, "run_eager")


def count_notebooks(step):
    rows = json.loads(step.found.read_text())["notebooks"]
    passed, used = (sum(row.get(k, False) for row in rows) for k in ("ok", "on_gpu"))
    step.figures.append(f"{passed} of {len(rows)} passed, {used} computed on the GPU")
    step.figures += [f"{row['name']} failed" for row in rows if not row["ok"]]


def training(store):
    "The command that trains CARAT, without a run folder."
    how = ["--preset", "paper", "--precision", "bfloat16", "--device", DEVICE, "--overwrite"]
    sizes = ["--epochs", 1, *TINY] if QUICK else ["--epochs", 20]
    return carat("train", store, *how, *sizes)


def one_run(out, store, name, *how):
    "20 epochs of one run, which is recorded as chapters read it."
    command = [*training(store), "--out", str(WORK / name), *how]
    return Step(name, command, after=lambda step: keep_run(step, out))


def keep_run(step, out):
    from carat.train import load_run, record_result

    run = load_run(WORK / step.name, "cpu")
    record_result(run, out / f"gpu_{step.name}.json", wall_seconds=step.seconds)
    seconds = run.metrics["seconds"]
    step.figures.append(beside(f"epochs 1 to {len(run.history)}", seconds, "s", 30))
    step.figures.append(f"with starting, reading and writing: {step.seconds:.0f} s")


def keep_seeds(step, out):
    found = json.loads((WORK / "seeds" / "seeds.json").read_text())
    found = {"seconds": step.seconds, "command": step.command[3:], **machine(), **found}
    write(out / "gpu_seeds.json", found)
    what = f"{len(found['seeds'])} runs side by side"
    step.figures.append(beside(what, step.seconds, "s", 120))


def steps_of_systems(out):
    "Part 2: a training step of CARAT and of every peer, eager and compiled, in two precisions."
    sizes = ["--batch", 4, "--queue", 64, "--repeats", 1] if QUICK else []
    sizes += ["--kinds", "carat", "plain"] if QUICK else []
    jobs = ["--jobs", 1 if ON_CPU else max(1, min(6, CORES // 2))]
    for precision in ("bfloat16", "float32"):
        for compiled in ([],) if ON_CPU else ([], ["--compile"]):
            name = f"step_{precision}{'_compiled' if compiled else ''}"
            found = out / f"gpu_{name}.json"
            how = ["--json", found, "--most", 200, *jobs, *sizes]
            how += ["--device", DEVICE, "--precision", precision, *compiled]
            yield Step(name, python("cost.py", *how), CARAT, found=found, after=count_systems)


def count_systems(step):
    rows = {row["kind"]: row for row in json.loads(step.found.read_text())["rows"]}
    if "carat" in rows:
        step.figures.append(beside("CARAT's step", 1e3 * rows["carat"]["step"], "ms", 4))
    step.figures.append(f"systems measured: {', '.join(rows)}")
    if waits := [kind for kind, row in rows.items() if row["reads"]]:
        step.figures.append(f"steps that wait for the device: {', '.join(waits)}")


def table(out):
    "Part 3: Table 1 at full size on the twin."
    study, how = STUDY, ["--size", "full"]
    if QUICK:
        study, how = WORK / "quick.toml", []
        WORK.mkdir(parents=True, exist_ok=True)
        study.write_text(TINY_STUDY)
    name = Path(study).stem
    folder = WORK / f"study-{name}"
    how += ["--device", DEVICE, "--jobs", 1 if ON_CPU else max(1, min(8, CORES // 2))]
    how += ["--resume"] if folder.exists() else []
    yield Step("study", carat("study", study, "--out", folder, *how), most=LIMIT - 60)
    for form, suffix in (("json", "json"), ("markdown", "md")):
        found = out / f"gpu_{name}.{suffix}"
        how = ["--format", form, "--out", found, "--overwrite"]
        yield Step(f"table in {form}", carat("table", folder, *how), found=found)


PARTS = {1: notebooks_and_runs, 2: steps_of_systems, 3: table}


# running them


def lacks(modules):
    "Those that cannot be imported here, by the names of their packages."
    return [PACKAGE.get(m, m) for m in modules if importlib.util.find_spec(m) is None]


def install():
    "What is missing, from the folder of wheels into one that only these steps see."
    missing = lacks(CHAPTERS)
    if not (WHEELS and missing) or DRY:
        return
    print(f"from {WHEELS}: {' '.join(missing)}", flush=True)
    site = WORK / "site"
    how = ["--no-index", "--find-links", WHEELS, "--upgrade", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", *how, *missing])
    sys.path.append(str(site))
    os.environ["PYTHONPATH"] = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(site)])


def machine():
    "Where this runs, for the files in OUT."
    import torch

    gpu = not ON_CPU and torch.cuda.is_available()
    name = torch.cuda.get_device_name(DEVICE) if gpu else platform.machine()
    return dict(device=name, cores=CORES, torch=torch.__version__, python=platform.python_version())


class Part:
    "The steps of a part, one after the other, within its time."

    def __init__(self, number, out):
        self.number, self.out, self.steps = number, out, []
        self.end = time.monotonic() + LIMIT
        self.log = (out / f"gpu_part{number}.log").open("w", encoding="utf-8")

    def say(self, line):
        for file in (sys.stdout, self.log):
            print(line, file=file, flush=True)

    def run(self, step):
        self.steps.append(step)
        most, missing = min(step.most, self.end - time.monotonic()), lacks(step.needs)
        if missing:
            step.status = "left out"
            step.figures.append(f"for want of {', '.join(missing)}")
        elif most < 5:
            step.status = "late"
            step.figures.append("the time of this part was up")
        else:
            self.say(f"\n== {step.name}, at most {most:.0f} s\n$ {shlex.join(step.command)}")
            if step.found is not None:
                step.found.unlink(missing_ok=True)
            start = time.monotonic()
            step.status = self.watch(step.command, most)
            step.seconds = time.monotonic() - start
            if step.after and (step.status == "done" or step.found and step.found.exists()):
                self.keep(step)
        self.say(self.line(step))
        steps = [dict(name=s.name, status=s.status, seconds=s.seconds, found=s.figures)
                 for s in self.steps]  # fmt: skip
        write(self.out / f"gpu_part{self.number}.json", {**machine(), "steps": steps})

    def watch(self, command, most):
        "Run a command, show what it prints, and stop it where it takes too long."
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", start_new_session=True,
        )  # fmt: skip
        reader = threading.Thread(target=self.pass_on, args=[process.stdout], daemon=True)
        reader.start()
        try:
            status = "done" if process.wait(most) == 0 else "failed"
        except subprocess.TimeoutExpired:
            status = "stopped"
        finally:
            stop(process)
        reader.join(2)
        return status

    def pass_on(self, lines):
        for line in lines:
            self.say(line.rstrip())

    def keep(self, step):
        "What a step found; a mistake here is a failure of that step."
        try:
            step.after(step)
        except Exception as e:
            step.status = "failed"
            step.figures.append(f"its results cannot be read: {type(e).__name__}: {e}")

    def line(self, step):
        "How a step ended."
        return f"{step.name}: {step.status}, {step.seconds:.0f} s. {'; '.join(step.figures)}"

    def close(self):
        "Report; 0 where every step is done or left out for want of a package, and one is done."
        self.say(f"\n== part {self.number}: {PARTS[self.number].__doc__.split(': ')[1]}")
        for step in self.steps:
            self.say(self.line(step))
        self.log.close()
        ended = {step.status for step in self.steps}
        return int("done" not in ended or bool(ended & {"failed", "stopped", "late"}))


def stop(process):
    "End a command and all that it started: politely, then not."
    for number, patience in ((signal.SIGTERM, 8), (signal.SIGKILL, 8)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            pass


def main():
    parser = argparse.ArgumentParser(description="One part of what is to be seen on a GPU.")
    parser.add_argument("part", type=int, choices=PARTS)
    parser.add_argument("out", type=Path, help="the folder that gets the results")
    args = parser.parse_args()
    install()
    if DRY:
        for step in PARTS[args.part](args.out):
            print(shlex.join(step.command))
        return 0
    if missing := lacks(["torch", "numpy"]):
        return f"gpu.sh: {' and '.join(missing)} are missing here, so nothing can be run"
    import torch

    if not ON_CPU and not torch.cuda.is_available():
        return "gpu.sh: torch sees no GPU here; DEVICE=cpu QUICK=1 tries the script without one"
    if ON_CPU:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for the chapters, which take the best there is
    for folder in (args.out, WORK):
        folder.mkdir(parents=True, exist_ok=True)
    part = Part(args.part, args.out.resolve())
    part.say(", ".join(f"{k} {v}" for k, v in machine().items()))
    for step in PARTS[args.part](args.out.resolve()):
        part.run(step)
    return part.close()


if __name__ == "__main__":
    sys.exit(main())
