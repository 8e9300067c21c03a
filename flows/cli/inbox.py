"""``watch``: predict every scan that arrives in a folder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from synthct.flows.cli.options import Json, Model, PublicKey, examples, print_json
from synthct.flows.exits import CLEAN


class Form(StrEnum):
    """File format of a prediction."""

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
    inbox: Annotated[
        str, typer.Option(metavar="DIR|URL", help="Folder or s3:// prefix where scans arrive.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the results: done/ and quarantine/.")
    ],
    form: Annotated[Form, typer.Option("--as", help="Format of the synthetic CTs.")] = Form.MHA,
    identified: Annotated[
        bool,
        typer.Option(
            "--identified",
            help="DICOM only: write patient, study and frame of reference of each scan into its "
            "result.",
        ),
    ] = False,
    keep_names: Annotated[
        bool,
        typer.Option(
            "--keep-names",
            help="Name results after the inbox entries, whose names may identify patients.",
        ),
    ] = False,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="Also write the standard deviation over the ensemble's predictions [HU].",
        ),
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Predict the scans that are there now, then exit.")
    ] = False,
    every: Annotated[
        float, typer.Option(metavar="S", min=0.5, help="Time between checks of the inbox [s].")
    ] = 10.0,
    settle: Annotated[
        float,
        typer.Option(
            metavar="S",
            min=0.1,
            help="Time for which an entry must not change to count as complete [s].",
        ),
    ] = 10.0,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Run without Prefect, with the base packages only."),
    ] = False,
    tta: Annotated[
        bool,
        typer.Option(
            help="Test-time augmentation: average over the mirrorings used in training (slower)."
        ),
    ] = True,
    max_ram: Annotated[
        float | None,
        typer.Option(
            metavar="GB", min=0.1, help="Memory limit per prediction (default: all free memory)."
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=0, help="Windows computed in parallel; 0: one per core.")
    ] = 0,
    public_key: PublicKey = None,
    series: Annotated[
        str,
        typer.Option(
            metavar="ID",
            help="Number, description or UID of the series to predict, where DICOM entries hold "
            "several; an entry without it is put into quarantine.",
        ),
    ] = "",
    as_json: Json = False,
) -> int:
    """Predict every scan that arrives in a folder, once.

    Each entry of the inbox (file, zip or folder) is one scan. It is processed once its files have
    not changed for --settle seconds. The result is written to done/KEY; a scan that cannot be
    predicted is reported in quarantine/KEY with the reason. KEY is a hash of scan and release: it
    reveals no name, and no scan is predicted twice, even after a crash. Exit code 3: scans were
    quarantined.
    """
    from synthct.flows.exits import EXCLUSIONS
    from synthct.flows.jobs.watch import watch as look
    from synthct.tasks.prediction.batch import BatchSettings, Result
    from synthct.tasks.prediction.inbox import open_inbox
    from synthct.tasks.prediction.outbox import Outbox

    def report(result: Result) -> None:
        if not as_json:
            typer.echo(f"{result.key[:16]}: {result.status}", err=False)
            if result.message:
                say(result.message)

    def say(line: str) -> None:
        typer.echo(f"note: {line}", err=True)

    settings = BatchSettings(
        model=model,
        form=form.value,
        identified=identified,
        keep_names=keep_names,
        uncertainty=uncertainty,
        options={"tta": tta, "threads": threads, "max_ram_gb": max_ram},
        public_key=public_key,
        series=series,
    )
    outbox = Outbox(out)
    results = look(
        open_inbox(inbox, settle_s=settle, memory=outbox.memory(inbox)),
        outbox,
        settings,
        once=once,
        every_s=every,
        tell=report,
        say=say,
        home=None if plain else out / ".prefect",
    )
    if as_json:
        print_json(outbox.reports())
    return EXCLUSIONS if any(result.status == "quarantined" for result in results) else CLEAN
