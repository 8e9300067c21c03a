"""``predict``, ``sign``, ``verify``, ``watch``: a release folder and what a clinic does with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import synthct
from synthct.flows.cli.options import Json, examples
from synthct.flows.exits import CLEAN

if TYPE_CHECKING:
    from rich.progress import Progress


class Source(StrEnum):
    """What the scan is, where its file does not say it."""

    MR = "mr"
    CBCT = "cbct"


class Device(StrEnum):
    """Where the networks run."""

    CPU = "cpu"
    CUDA = "cuda"


Model = Annotated[Path, typer.Option(metavar="DIR", help="Release folder of `export`.")]
PublicKey = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Refuse a release not signed by this key.")
]


@examples(
    "synthct predict --model data/artefacts/export/mr --input MR --out sct.mha",
    "synthct predict --model RELEASE --input CBCT --out sct --dicom-reference CBCT",
    "synthct predict --model RELEASE --input mr.nii.gz --out sct.nii.gz --uncertainty sd.nii.gz",
)
def predict(
    model: Model,
    input: Annotated[Path, typer.Option(metavar="SCAN", help="MR or CBCT.")],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help=".mha, .nii.gz or .nrrd; no suffix: DICOM series.")
    ],
    mask: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="Body (> 0); outlined where not given.")
    ] = None,
    dicom_reference: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Take patient, study and frame of reference from it; its RTSTRUCT comes along.",
        ),
    ] = None,
    structures: Annotated[
        Path | None,
        typer.Option(metavar="RTSTRUCT", help="Contours to carry over to the new series."),
    ] = None,
    uncertainty: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Standard deviation over the folds [HU].")
    ] = None,
    modality: Annotated[
        Source | None, typer.Option(help="What it measures, where the file does not say it.")
    ] = None,
    tta: Annotated[bool, typer.Option(help="Also mirror as in training: more work.")] = True,
    overlap: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Of neighbouring windows, as a fraction.")
    ] = 0.5,
    max_ram: Annotated[
        float | None,
        typer.Option(metavar="GB", min=0.1, help="Memory the process may take; default: all."),
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0: all cores.")] = 0,
    device: Annotated[Device, typer.Option(help="cuda needs onnxruntime-gpu.")] = Device.CPU,
    int8: Annotated[
        bool, typer.Option("--int8", help="The 8-bit networks, where the release has them.")
    ] = False,
    student: Annotated[
        bool, typer.Option("--student", help="The ensemble in one network, where there is one.")
    ] = False,
    surest: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            min=1,
            help="Let the K networks answer that are least spread over mirrorings on this scan.",
        ),
    ] = None,
    public_key: PublicKey = None,
    series: Annotated[
        str, typer.Option(metavar="ID", help="Number, description or UID, where a folder has more.")
    ] = "",
    as_json: Json = False,
) -> int:
    """Make a synthetic CT of one scan.

    In HU, on the scan's own grid. Every file of the release is checked first; a scan that
    training would not have let in is refused, one unlike the training scans is reported.

    Without --dicom-reference nothing of the patient enters the output. Not for clinical use.
    """
    with _bars() as bars:
        bar = bars.add_task("check the release", total=None)
        made = synthct.predict(
            model,
            input,
            out=out,
            mask=mask,
            dicom_reference=dicom_reference,
            structures=structures,
            uncertainty=uncertainty or False,
            modality=modality,
            tta=tta,
            overlap=overlap,
            threads=threads,
            device=device.value,
            max_ram_gb=max_ram,
            int8=int8,
            student=student,
            surest=surest,
            public_key=public_key,
            series=series,
            progress=lambda done, total: bars.update(bar, completed=done, total=total),
            step=lambda name: bars.update(bar, description=name),
        )
        bars.update(bar, description="done")
    _tell(made.report, out, as_json=as_json)
    return CLEAN


def _bars() -> Progress:
    """Step, bar, windows, time passed and time left, on the standard error."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _tell(document: Mapping[str, Any], out: Path, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    networks, flips = document["networks"], document["flips"]
    made_by = "one network" if networks == 1 else f"the mean of {networks} networks"
    mirrored = f", each over {flips} mirrorings" if flips > 1 else ""
    contours = f", {document['structures']} structure sets" if document["structures"] else ""
    typer.echo(f"{out}: synthetic CT [HU] by {made_by}{mirrored}{contours}")
    for note in document["notes"]:
        typer.echo(f"note: {note}", err=True)
    if document["not_for_clinical_use"]:
        typer.echo(document["not_for_clinical_use"], err=True)


@examples(
    "synthct sign --new-key release-key",
    "synthct sign --model data/artefacts/export/mr --key release-key --out signed/mr",
)
def sign(
    model: Annotated[Path | None, typer.Option(metavar="DIR", help="Release to sign.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Private key (PEM).")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Signed copy; new.")] = None,
    new_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Make FILE and FILE.pub and stop.")
    ] = None,
) -> int:
    """Sign a release with an ed25519 key.

    Checksums in a folder stop accidents; whoever changes a file on purpose writes new ones. A
    signature stops him, where the reader has the public key from elsewhere than the folder.
    """
    from synthct.data.errors import UsageError
    from synthct.tasks.prediction.signing import new_key as make_key
    from synthct.tasks.prediction.signing import sign_release

    if new_key is not None:
        typer.echo(f"{new_key} (keep it secret), {make_key(new_key)} (give it to everyone)")
        return CLEAN
    if model is None or key is None or out is None:
        raise UsageError(
            "sign takes --model, --key and --out, or --new-key alone",
            remedy="`synthct sign --help` shows both",
            code="sign-options",
        )
    sign_release(model, key, out)
    typer.echo(f"{out}: signed copy of {model}")
    return CLEAN


@examples(
    "synthct verify --model RELEASE",
    "synthct verify --model RELEASE --public-key release-key.pub",
)
def verify(model: Model, public_key: PublicKey = None, as_json: Json = False) -> int:
    """Check every file of a release.

    With --public-key also who made it; without, only that no byte changed by accident.
    """
    from synthct.tasks.prediction.signing import verify_release

    document = verify_release(model, public_key)
    if as_json:
        typer.echo(json.dumps(document, indent=2))
    else:
        who = "signed by that key" if public_key else "whole (who made it was not checked)"
        typer.echo(f"{model}: {document['files']} files, {who}")
    return CLEAN


class Form(StrEnum):
    """What a prediction is written as."""

    MHA = "mha"
    NIFTI = "nii.gz"
    NRRD = "nrrd"
    DICOM = "dicom"


@examples(
    "synthct watch --model RELEASE --inbox incoming --out predicted",
    "synthct watch --model RELEASE --inbox s3://bucket/incoming --out predicted --once --plain",
)
def watch(
    model: Model,
    inbox: Annotated[str, typer.Option(metavar="DIR|URL", help="Folder or s3:// prefix.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Gets done/ and quarantine/.")],
    form: Annotated[Form, typer.Option("--as", help="What is written.")] = Form.MHA,
    identified: Annotated[
        bool, typer.Option("--identified", help="DICOM: each scan is its own --dicom-reference.")
    ] = False,
    keep_names: Annotated[
        bool, typer.Option("--keep-names", help="Results take the entries' names: may identify.")
    ] = False,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Also the standard deviation [HU].")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="What is there now, then stop.")] = False,
    every: Annotated[
        float, typer.Option(metavar="S", min=0.5, help="Pause between looks [s].")
    ] = 10.0,
    settle: Annotated[
        float, typer.Option(metavar="S", min=0.1, help="Unchanged for so long: whole [s].")
    ] = 10.0,
    plain: Annotated[
        bool, typer.Option("--plain", help="Without Prefect: base packages are enough.")
    ] = False,
    tta: Annotated[bool, typer.Option(help="Also mirror as in training: more work.")] = True,
    max_ram: Annotated[
        float | None, typer.Option(metavar="GB", min=0.1, help="Memory of each prediction.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0: all cores.")] = 0,
    public_key: PublicKey = None,
    as_json: Json = False,
) -> int:
    """Predict the scans that arrive in a folder, each once.

    Every entry of the inbox (file, zip or folder) is a scan. A result appears whole in
    done/KEY with its report; a scan that cannot be predicted in quarantine/KEY with the reason.
    KEY is a hash of scan and release: names stay in the inbox, and nothing is predicted twice,
    whatever is killed and started again. A scan is taken when two looks, --settle apart, found the
    same files; --once waits for the second one. Exit code 3: done, but scans were set aside.
    """
    from synthct.flows.exits import EXCLUSIONS
    from synthct.flows.jobs.watch import watch as look
    from synthct.tasks.prediction.batch import Orders, Result
    from synthct.tasks.prediction.inbox import open_inbox
    from synthct.tasks.prediction.outbox import Outbox

    def tell(result: Result) -> None:
        if not as_json:
            typer.echo(f"{result.key[:16]}: {result.status}", err=False)
            if result.told:
                say(result.told)

    def say(line: str) -> None:
        typer.echo(f"note: {line}", err=True)

    orders = Orders(
        model=model,
        form=form.value,
        identified=identified,
        keep_names=keep_names,
        uncertainty=uncertainty,
        options={"tta": tta, "threads": threads, "max_ram_gb": max_ram},
        public_key=public_key,
    )
    outbox = Outbox(out)
    results = look(
        open_inbox(inbox, settle_s=settle, memory=outbox.memory(inbox)),
        outbox,
        orders,
        once=once,
        every_s=every,
        tell=tell,
        say=say,
        home=None if plain else out / ".prefect",
    )
    if as_json:
        typer.echo(json.dumps(outbox.reports(), indent=2))
    return EXCLUSIONS if any(result.status == "quarantined" for result in results) else CLEAN
