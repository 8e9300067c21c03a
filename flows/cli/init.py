"""``init``: from a folder of scans to a data set, a proposed preset and the next command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import synthct
from synthct.flows.cli.options import Json, PatientFrom, examples, print_json
from synthct.flows.cli.scans import note, print_reasons, print_result, show
from synthct.flows.exits import CLEAN, EXCLUSIONS

if TYPE_CHECKING:
    from synthct import Intake
    from synthct.flows.workspace.proposal import Fingerprint, Machine


@examples(
    "synthct init mine --from ~/scans --dry-run    what is there, and what would be done with it",
    "synthct init mine --from ~/scans --region thorax",
    "synthct init mine --from ~/scans --manifest .synthct/manifests/mine.csv",
)
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of data set and preset.")],
    sources: Annotated[
        list[Path],
        typer.Option(
            "--from", metavar="FOLDER", exists=True, help="Scans; may be given several times."
        ),
    ],
    region: Annotated[
        str,
        typer.Option(
            metavar="REGION",
            help="Body region of scans without one: head-neck, thorax, abdomen or other.",
        ),
    ] = "other",
    manifest: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Filled-in manifest: see `synthct ingest --help`."),
    ] = None,
    patient_from: PatientFrom = None,
    licence: Annotated[
        str | None, typer.Option(metavar="NAME", help="Licence of the scans, for the model cards.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=5,
            help="Training steps to propose (default: chosen for this machine); a small number "
            "suits a first trial.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show scans, plan and forecast; write nothing.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Set up a study of your own scans: copies, a preset that fits them, and the next command.

    Searches the folder (SynthRAD, BIDS, nnU-Net, DICOM exports, flat), shows how each scan is
    classified, and imports de-identified copies like `synthct ingest`. From the scans and this
    machine it proposes presets/NAME.yaml: grid, patch, network, steps. The time of a training step
    is measured on this machine. Where scans are refused, a manifest to fill in is written to
    .synthct/manifests/NAME.csv; it contains paths and patients. Exit code 3: a scan was refused.
    """
    from synthct.data.errors import UsageError
    from synthct.data.files import write_whole
    from synthct.flows.workspace.freshness import track
    from synthct.flows.workspace.presets import PRESETS
    from synthct.flows.workspace.project import PRIVATE, find_root
    from synthct.flows.workspace.proposal import fingerprint, preset_text, propose

    places = [source.resolve() for source in sources]
    listed = manifest.resolve() if manifest else None
    root = find_root()
    os.chdir(root)
    raw, preset = root / "data" / "raw" / name, PRESETS / f"{name}.yaml"
    to_fill_in = Path(PRIVATE) / "manifests" / f"{name}.csv"
    machine = _machine()
    texts: list[str] = []
    forecasts: list[str] = []

    def write_template(seen: Intake) -> None:
        if not seen.plan.open_questions or listed is not None or dry_run:
            return
        if not to_fill_in.exists():
            to_fill_in.parent.mkdir(parents=True, exist_ok=True)
            seen.write_manifest(to_fill_in)
        note(f"to name what is not known of the scans, fill in {to_fill_in}, add --manifest to it")

    def planned(seen: Intake) -> None:
        if not as_json:
            show(seen)
        try:
            found = fingerprint(seen.rows)
        except UsageError:
            print_reasons(seen)
            write_template(seen)
            raise
        write_template(seen)
        document = propose(name, found, machine, steps=steps)
        texts.append(preset_text(document, found, machine))
        forecasts.extend(_forecast(document, machine, found, root))
        if not as_json:
            typer.echo("\n".join(forecasts))

    seen = synthct.ingest(
        places, raw, dataset=name, region=region, manifest=listed, patient_from=patient_from,
        licence=licence, dry_run=dry_run, planned=planned, written=lambda _: track(root, raw),
        tell=note,
    )  # fmt: skip
    kept = preset.exists()
    if not dry_run and not kept:
        write_whole(preset, texts[0])
    following = f"init {name} --from {sources[0]}" if dry_run else f"run --preset {name}"
    if as_json:
        made = {"preset": str(preset), "forecast": forecasts, "next": f"synthct {following}"}
        print_json({**seen.as_json(), **made, "proposed": texts[0]})
        return EXCLUSIONS if seen.plan.open_questions else CLEAN
    print_result(seen, dry_run)
    if dry_run:
        typer.echo(texts[0])
    elif kept:
        note(f"{preset} exists and is kept")
    else:
        typer.echo(f"{preset}: proposed; edit it as needed")
    typer.echo(f"next: synthct {following}")
    return EXCLUSIONS if seen.plan.open_questions else CLEAN


def _machine() -> Machine:
    from synthct.flows.clusters.gpu import devices
    from synthct.flows.workspace.proposal import Machine

    return Machine(len(os.sched_getaffinity(0)), len(devices()))


def _forecast(
    document: dict[str, object], machine: Machine, found: Fingerprint, root: Path
) -> list[str]:
    """Measure a training step of each source; lines on time, memory and disk."""
    from synthct.data.yaml_text import dump_yaml
    from synthct.flows.run.expected import expected_of
    from synthct.tasks.chain.params import parse_params
    from synthct.tasks.chain.table import active_stages
    from synthct.tasks.pipeline.progress import spelled_s
    from synthct.tasks.training.probe import probe

    params = parse_params(dump_yaml(document), where="the proposed preset")
    at_once = machine.gpus or machine.cores
    probed = [probe(params.training, source, at_once) for source in params.training.sources]
    stages = [stage.name for stage in active_stages(params)]
    told = expected_of(params, found, stages, probed, machine.cores, {})
    lines = [
        f"{each.source}: {each.networks} networks of {each.steps} steps, {each.step_s:.2f} s a "
        "step here"
        for each in probed
    ]
    times = ", ".join(
        f"{each.stage} {spelled_s(each.seconds)}" for each in told.stages if each.seconds
    )
    return [*lines, f"expected: {times}", *told.lines(root)]
