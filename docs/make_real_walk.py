"""The 24 real patients from a folder to a predicted DICOM series, typed for real, as a tutorial.

    SYNTHCT_PSEUDONYM_KEY=... python -m docs.make_real_walk --scans shared/data [--steps N]

Types its commands in this checkout: looks at the scans, proposes a preset, forecasts, runs (hours;
the same command goes on where it was stopped), predicts a patient of the collection who is not
among the 24 from the DICOM series of the MR, scores it and looks at it. Commands that ended well
are not typed again: what they printed is kept in ``.synthct/real-walk.json``. Writes the page
``build/real-patients.md`` and its pictures beside it; after a look, the page goes to
``docs/tutorials``, the pictures to ``docs/pictures/real``, and a line to the menu in
``mkdocs.yml``. ``--scans`` is the folder with ``sts51`` and ``sts_mr_ct``. Pictures need Chromium.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from docs.make_first_hour import FOREIGN, Typed, excerpt
from synthct.data.files import write_whole
from synthct.tasks.pipeline.progress import spelled_s

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / ".synthct" / "real-walk.json"
NAME = "real"
PICTURES = "../pictures/real"
WORST = "{worst}"

FIRST = """# 24 real patients, from folder to DICOM series

The folder has an MR and a CT of 24 patients with soft-tissue sarcoma (Vallières et al. 2015,
[doi:10.7937/K9/TCIA.2015.7GO2GSKS](https://doi.org/10.7937/K9/TCIA.2015.7GO2GSKS), CC BY 3.0). This
page is what `python -m docs.make_real_walk` typed and what was printed. Only the middle of long
outputs is left out (`...`). [Real patients](../benchmarks/real_patients.md) discusses such scores.
"""


def commands(scans: str, steps: int | None) -> Iterator[tuple[str, str, str]]:
    """Title, a sentence on why, and what is typed; ``{worst}`` is known after the run."""
    short = f" --steps {steps}" if steps else ""
    unseen, model = f"{scans}/sts_mr_ct/STS_002", f"workspaces/{NAME}/artefacts/export/mr"
    source = f"synthct init {NAME} --from {scans}/sts51"
    yield "Look at the folder", "Nothing is written.", f"{source} --dry-run{short}"
    yield (
        "Import and propose",
        "De-identified copies, a preset for these scans and this machine, a forecast.",
        f"{source} --licence 'CC BY 3.0'{short}",
    )
    yield (
        "Allow a demonstration",
        "The gate may refuse the model; then it is still written, and says so wherever it is used. "
        "A clinic leaves this line out.",
        f"echo 'export: {{gate: {{when_refused: demonstration}}}}' >> presets/{NAME}.yaml",
    )
    yield "Forecast", "Stages, time, memory and disk.", f"synthct run --preset {NAME} --dry-run"
    yield (
        "Run", "It may be stopped at any time; the same command goes on.",
        f"synthct run --preset {NAME}",
    )  # fmt: skip
    yield (
        "Predict a patient whom no network has seen",
        "From the DICOM series of the MR to a DICOM series of CT in the same frame of reference, "
        "for 3D Slicer, OHIF or a planning system.",
        f"synthct predict --model {model} --input {unseen}/MR_T1_dicom "
        f"--dicom-reference {unseen}/MR_T1_dicom --out build/real-sct "
        "--write-body build/real-body.nii.gz",
    )
    yield (
        "Score it",
        "Against the CT of this patient; the collection delivers MR and CT in one frame.",
        f"synthct evaluate --prediction build/real-sct --reference {unseen}/CT_dicom "
        "--mask build/real-body.nii.gz --resample",
    )
    yield "The report", "One file.", f"synthct report --preset {NAME} --out build/real-report"
    yield (
        "The case of the largest error", "In linked planes.",
        f"synthct view {WORST} --preset {NAME} --out build/real-case.html --no-open --overwrite",
    )  # fmt: skip
    yield (
        "The new patient", "MR, CT, synthetic CT and difference.",
        f"synthct view --source {unseen}/MR_T1_dicom --ct {unseen}/CT_dicom --sct build/real-sct "
        "--mask build/real-body.nii.gz --out build/real-new.html --no-open --overwrite",
    )  # fmt: skip


def main() -> int:
    """Type the commands, write page and pictures; 1 where a command failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scans", type=Path, required=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--note", default="", help="a sentence on the machine")
    given = parser.parse_args()
    scans = str(given.scans.resolve())
    parts, failed = [FIRST, given.note], []
    for number, (title, why, typed) in enumerate(type_all(scans, given.steps), 1):
        parts.append(section(number, title, why, typed, scans))
        if typed.code not in (0, 3):
            failed.append(typed.command)
    if not failed:
        parts += pictures(ROOT / "build")
    text = "\n".join(part for part in parts if part)
    write_whole(ROOT / "build" / "real-patients.md", text)
    failed += FOREIGN.findall(text)
    sys.stdout.write("".join(f"not as expected: {each}\n" for each in failed))
    return 1 if failed else 0


def type_all(scans: str, steps: int | None) -> Iterator[tuple[str, str, Typed]]:
    """Run each command that has not ended well before; stops at the first that fails."""
    earlier = json.loads(RECORD.read_text()) if RECORD.exists() else []
    well = {each["command"]: Typed(**each) for each in earlier if each["code"] in (0, 3)}
    environment = os.environ | {
        "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
        "COLUMNS": "120", "LC_ALL": "C.UTF-8", "DO_NOT_TRACK": "1",
    }  # fmt: skip
    kept: list[Typed] = []
    for title, why, text in commands(scans, steps):
        command = text.replace(WORST, worst_case()) if WORST in text else text
        typed, started = well.get(command), time.monotonic()
        if typed is None:
            done = subprocess.run(
                ["bash", "-c", command], cwd=ROOT, env=environment, text=True, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            seconds = time.monotonic() - started
            typed = Typed(why, command, done.returncode, seconds, done.stdout)
        kept.append(typed)
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_text(json.dumps([asdict(each) for each in kept]))
        sys.stdout.write(f"{command}: exit code {typed.code}, {spelled_s(typed.seconds)}\n")
        sys.stdout.flush()
        yield title, why, typed
        if typed.code not in (0, 3):
            return


def worst_case() -> str:
    """The case of the model's largest mean absolute error."""
    scores = ROOT / "workspaces" / NAME / "artefacts/evaluation/scores.csv"
    wanted = ("model", "registered", "mae_hu")
    with scores.open() as file:
        found = {
            row["case"]: float(row["value"])
            for row in csv.DictReader(file)
            if (row["method"], row["reference"], row["metric"]) == wanted and row["value"]
        }
    return max(found, key=lambda case: found[case])


def section(number: int, title: str, why: str, typed: Typed, scans: str) -> str:
    """One command of the page, with its output and its time."""
    lines = [f"$ {typed.command}", *excerpt(typed.output)]
    text = "\n".join(lines).replace(scans, "~/scans").replace(str(ROOT), "~/synthct")
    ending = f", exit code {typed.code}" if typed.code else ""
    return (
        f"## {number}. {title}\n\n{why}\n\n```console\n{text}\n```\n\n"
        f"*{spelled_s(typed.seconds)}{ending}*\n"
    )


def pictures(folder: Path) -> list[str]:
    """Screenshots of report, worst case and new patient, and the lines that show them."""
    from docs.make_screens import smaller
    from tests.flows.serve.screen import opened

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("chromium is absent: apt-get install chromium")
    pages = {
        "report": (folder / "real-report" / "index.html", "synthct report", "The report"),
        "case": (folder / "real-case.html", "difference", "The case of the largest error"),
        "new": (folder / "real-new.html", "difference", "The new patient"),
    }
    lines = ["## What it looks like\n"]
    with tempfile.TemporaryDirectory() as temporary:
        with opened(chromium, Path(temporary) / "profile") as look:
            for name, (page, text, said) in pages.items():
                shot = look(page.as_uri(), Path(temporary) / f"{name}.png", text)
                write_whole(folder / f"real-{name}.png", smaller(shot))
                lines.append(f"![{said}]({PICTURES}/{name}.png)\n")
    return lines


if __name__ == "__main__":
    sys.exit(main())
