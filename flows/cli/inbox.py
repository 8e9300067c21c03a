"""``watch``: the scans that arrive in a folder."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from synthct.flows.cli.options import Json, examples
from synthct.flows.cli.prediction import Model, PublicKey
from synthct.flows.exits import CLEAN


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
