"""The stranger's first hour, typed for real, and its transcript as a page.

    python -m docs.make_first_hour [--scans FOLDER] [--steps N] [--keep HOME]

Clones the repository into an empty home, installs it from its locks, takes four patients of FOLDER
(a folder each; default: digital patients) to a model, predicts one of them, makes a mistake and
looks at the result: eleven commands, no file edited. FOLDER is copied; nothing
of this environment is used but Python, git and the settings of pip. ``--steps`` shortens training,
``--keep`` keeps the home (for pictures). In a kept home, commands that ended well are not typed
again: the page shows what they printed and how long they took when they were. The page is written
to ``build/first-hour.md``, or to ``--page``. A path or an address of this machine on it is
reported, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthct.data.files import write_whole
from synthct.data.phantom.patient import Protocol, make_patient
from synthct.data.writers import write_image
from synthct.tasks.pipeline.progress import StageProgress, spelled_s

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "build" / "first-hour.md"
PATIENTS, MAX_COMMANDS = 4, 11
HEAD, TAIL, WIDE = 5, 16, 400
"""Lines of an output that are shown from its start and end, and characters of a line."""

FIRST = """# The first hour, as it was typed

Four patients of one's own, from an empty home to a model, a synthetic CT and a look at it. This
page is the transcript of `python -m docs.make_first_hour`, which types the commands into a shell
with an empty home: nothing is left out but the middle of long outputs (`...`), and no file was
edited. The times are those of the run that wrote the page.
"""

FOREIGN = re.compile(
    r"file://[^\s'`]+|(?<![\w~./-])/(?:tmp|home|root|work|opt|usr|etc|var|mnt|srv)/[^\s`]*"
    r"|https?://(?!127\.0\.0\.1|localhost|doi\.org)[^\s`]+"
)
"""Paths of the machine that wrote the page, and hosts that it asked."""


@dataclass(frozen=True)
class Typed:
    """One command, why it is typed, how it ended and what it printed."""

    why: str
    command: str
    code: int
    seconds: float
    output: str


def commands(steps: int | None, licence: str) -> Iterator[tuple[str, str]]:
    """What is typed and why; ``{patient}`` and ``{case}`` are known when the scans are there."""
    short = f" --steps {steps}" if steps else ""
    model = "workspaces/mine/artefacts/export/mr"
    yield "Get it.", "git clone {repository} synthct && cd synthct"
    yield "Install exactly what the lock names.", "make setup"
    yield "Use this environment.", ". .venv/bin/activate"
    yield "Is this machine fit?", "synthct doctor"
    yield "Patients get pseudonyms from a secret key.", "synthct key --new"
    yield (
        "What is in the folder, and what would suit it? Copies, a proposed preset, a forecast.",
        f"synthct init mine --from ~/scans --licence '{licence}'{short}",
    )
    yield "Register, train, score, export, report.", "synthct run --preset mine"
    yield (
        "A synthetic CT of one scan, as a DICOM series. Four "
        "patients are too few for a release: the model is a demonstration, and says so.",
        f"synthct predict --model {model} --input ~/scans/{{patient}}/{{scan}} "
        "--out ~/sct --write-body ~/body.nii.gz",
    )
    yield "A mistake: a misspelt name.", "synthct run --preset mien"
    yield "The report, one file for any browser.", "synthct report --preset mine --out ~/report"
    yield (
        "The case that the report lists first, in linked planes.",
        "synthct view {case} --preset mine --out ~/view.html --no-open",
    )


def main() -> int:
    """Type the commands and write the page; 1 where one did not end as expected."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scans", type=Path)
    parser.add_argument("--repository", default=str(ROOT))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--licence", default="CC0 1.0")
    parser.add_argument("--note", default="", help="a sentence on the machine and the scans")
    parser.add_argument("--keep", type=Path, help="home of the run; goes on there if it exists")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="first-hour-") as temporary:
        home = given.keep or Path(temporary) / "home"
        home.mkdir(parents=True, exist_ok=True)
        typed = list(type_all(home, given))
        told = promises(home / "synthct" / ".synthct" / "runs")
    text = page(typed, given.note, home, given.repository) + promised(told)
    write_whole(given.page, text)
    wrong = [each.command for each in typed if not _as_expected(each)]
    wrong += FOREIGN.findall(text)
    sys.stdout.write("".join(f"not as expected: {each}\n" for each in wrong))
    return 1 if wrong else 0


def type_all(home: Path, given: argparse.Namespace) -> Iterator[Typed]:
    """Run each command in the folder and environment that the ones before it left."""
    record = home / "typed.json"
    earlier = json.loads(record.read_text()) if record.exists() else []
    well = {each["command"]: Typed(**each) for each in earlier if _as_expected(Typed(**each))}
    kept: list[Typed] = []
    if not (home / "scans").exists():
        _put_scans(home / "scans", given.scans)
    patients = sorted((home / "scans").iterdir())
    scans = sorted(path.name for path in patients[0].iterdir())
    words = {
        "repository": given.repository,
        "patient": patients[0].name,
        "scan": next(name for name in scans if not name.lower().startswith("ct")),
    }
    told = {
        "HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8",
        "COLUMNS": "120", "DO_NOT_TRACK": "1",
    }  # fmt: skip
    passed = re.compile("PIP_|OMP_NUM_THREADS$|PYTHON$")
    told |= {name: value for name, value in os.environ.items() if passed.match(name)}
    told["PATH"] = f"{Path(sys.executable).resolve().parent}:{told['PATH']}"  # a python3.N
    before = f"cd {home}"
    for why, text in commands(given.steps, given.licence):
        if "{case}" in text:
            words["case"] = _worst_case(home / "synthct")
        command = text
        for name, value in words.items():
            command = command.replace("{" + name + "}", value)
        started = time.monotonic()
        typed = well.get(command)
        if typed is None:
            done = subprocess.run(
                ["bash", "-c", f"{before} && {command}"], env=told, text=True, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            seconds = time.monotonic() - started
            typed = Typed(why, command, done.returncode, seconds, done.stdout)
        kept.append(typed)
        record.write_text(json.dumps([asdict(each) for each in kept]))
        sys.stdout.write(f"{command}: exit code {typed.code}, {typed.seconds:.0f} s\n")
        sys.stdout.flush()
        yield typed
        if command.startswith("git clone"):
            before = f"cd {home}/synthct"
        if command.startswith(". "):
            before = f"{before} && {command}"
        if typed.code not in (0, 2, 3):
            return


def _as_expected(typed: Typed) -> bool:
    return (typed.code not in (0, 3)) == ("mien" in typed.command)


def _put_scans(folder: Path, given: Path | None) -> None:
    if given is None:
        write_digital_patients(folder)
        return
    for patient in sorted(path for path in given.iterdir() if path.is_dir())[:PATIENTS]:
        shutil.copytree(patient, folder / patient.name)


def write_digital_patients(folder: Path, patients: int = PATIENTS) -> None:
    """A CT and an MR of two days of each patient, as NIfTI, coarse enough for a first trial."""
    voxels_mm = dict.fromkeys(("ct", "mr", "cbct"), (10.0, 8.0, 8.0))
    protocol = Protocol(
        voxels_mm, anatomy_mm=4.0, deformation_mm=(3.5, 7.0), setup_shift_mm=3.0,
        setup_turn_deg=1.2, ct_noise_hu=12.0, mr_noise=0.025, mr_shading=0.15, views=12,
        scatter=0.09, photons_per_mm2=2e4,
    )  # fmt: skip
    for number in range(1, patients + 1):

        def random(*names: object, seed: int = number) -> np.random.Generator:
            return np.random.default_rng([seed, *(len(str(name)) for name in names)])

        patient = make_patient("thorax", protocol, random)
        for name, scan in (("ct", patient.ct), ("mr", patient.sources["mr"].scan)):
            write_image(folder / f"P{number}" / f"{name}.nii.gz", scan)


def _worst_case(checkout: Path) -> str:
    scores = checkout / "workspaces/mine/artefacts/evaluation/scores.csv"
    if not scores.is_file():
        return "CASE"
    with scores.open() as file:
        rows = [
            (float(row["value"]), row["case"])
            for row in csv.DictReader(file)
            if (row["method"], row["metric"], row["reference"]) == ("model", "mae_hu", "registered")
        ]
    return max(rows)[1]


def page(typed: list[Typed], note: str, home: Path, repository: str) -> str:
    """The transcript as markdown."""
    assert len(typed) <= MAX_COMMANDS
    whole_s = sum(each.seconds for each in typed)
    parts = [FIRST]
    if note:
        parts.append(f"{_filled(note)}\n")
    parts.append(f"**{len(typed)} commands, {spelled_s(whole_s)}.**\n")
    for number, each in enumerate(typed, 1):
        ending = f", exit code {each.code}" if each.code else ""
        told = f"$ {each.command}", *excerpt(of_any_machine(each.output, home, repository))
        text = of_any_machine("\n".join(told), home, repository)
        parts.append(
            f"## {number}. {each.why.partition('. ')[0].rstrip('.')}\n\n"
            + (f"{_filled(each.why.partition('. ')[2])}\n\n" if ". " in each.why else "")
            + f"```console\n{text}\n```\n"
            + f"\n*{spelled_s(each.seconds)}{ending}*\n"
        )
    return "\n".join(parts)


@dataclass(frozen=True)
class Promise:
    """What a stage said of its time left early on, and what it took.

    ``units`` were to be done, ``after`` of them were when ``left_s`` was said; then it took
    ``took_s`` until the last one [s].
    """

    stage: str
    units: int
    after: int
    left_s: float
    took_s: float


def promises(runs: Path) -> list[Promise]:
    """For each stage with four units or more, what was said after a quarter of them, or two."""
    found = []
    for file in sorted(runs.glob("*/events.jsonl")):
        events = [json.loads(line) for line in file.read_text().splitlines()]
        for stage in dict.fromkeys(str(each.get("stage")) for each in events):
            own = [each for each in events if each.get("stage") == stage]
            found += _promises_of(stage, own)
    return found


def _promises_of(stage: str, events: list[dict[str, Any]]) -> list[Promise]:
    done = [e for e in events if e["kind"] == "unit_done" and not e.get("reused")]
    if len(done) < 4:
        return []
    early, progress = done[max(2, -(-len(done) // 4)) - 1], StageProgress()
    for event in events[: events.index(early) + 1]:
        progress.take(event)
    left_s = progress.left_at(early["time_s"])
    if left_s is None:
        return []
    took_s = done[-1]["time_s"] - early["time_s"]
    return [Promise(stage, len(done), done.index(early) + 1, left_s, took_s)]


def promised(told: list[Promise]) -> str:
    """A section on the time left, as it was said and as it was."""
    if not told:
        return ""
    rows = [
        f"| {one.stage} | {one.after} of {one.units} | {one.left_s:.0f} | {one.took_s:.0f} |"
        for one in told
    ]
    return "\n".join(
        [
            "\n## The time left, as it was said and as it was\n",
            "What stages of four units or more said after a quarter of them (at least two), and",
            "how long the others took.\n",
            "| stage | units done | said to be left [s] | took [s] |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _filled(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def of_any_machine(text: str, home: Path, repository: str) -> str:
    """The text with names in place of the folders that only this run has."""
    return text.replace(str(home), "~").replace(repository, "REPOSITORY")


def excerpt(output: str) -> list[str]:
    """First and last lines, without what a terminal would have overwritten."""
    lines = [line.rpartition("\r")[2].rstrip()[:WIDE] for line in output.split("\n")]
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in lines]
    lines = [line for line in lines if line]
    if len(lines) <= HEAD + TAIL + 1:
        return lines
    return [*lines[:HEAD], "...", *lines[-TAIL:]]


if __name__ == "__main__":
    sys.exit(main())
