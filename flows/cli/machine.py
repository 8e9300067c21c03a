"""``doctor``: check the machine, and prune caches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from synthct.data.environment import ARRAYS
from synthct.data.errors import UsageError
from synthct.flows.cli.options import DryRun, Json, examples, print_json
from synthct.flows.exits import CLEAN, FAILED

if TYPE_CHECKING:
    from synthct.flows.upkeep.doctor.check_result import CheckResult


@examples(
    "synthct doctor",
    "synthct doctor --json",
    "synthct doctor --prune-cache      remove cached results that no commit uses",
)
def doctor(
    as_json: Json = False,
    prune_cache: Annotated[
        bool,
        typer.Option(
            "--prune-cache",
            help=f"Remove entries of the result cache, and arrays at ${ARRAYS}, that no dvc.lock "
            "of any branch, tag or worktree refers to.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    dry_run: DryRun = False,
) -> int:
    """Check that this machine can run synthct, and say how to fix what is wrong.

    Checks Python, package versions, memory, disk, GPU, git, DVC, S3 access, write permissions and
    the clock. Status `warning`: something optional is missing. Status `error`: runs would fail or
    give other results; exit code 1. Credentials are never printed.
    """
    from synthct.flows.upkeep.doctor.check_result import healthy

    if prune_cache:
        return _prune(yes, dry_run)
    results = _check_machine()
    if as_json:
        print_json([result.as_json() for result in results])
    else:
        _show(results)
    return CLEAN if healthy(results) else FAILED


def _prune(yes: bool, dry_run: bool) -> int:
    from synthct.data.store.cache_lock import exclusive_lock
    from synthct.data.store.result_cache import open_result_cache
    from synthct.flows.upkeep.pruning import MIN_AGE_S, prunable, prune
    from synthct.flows.workspace.project import find_root

    units, root = open_result_cache(), find_root()
    with exclusive_lock(units.place()):
        found = prunable(root, units)
    days = MIN_AGE_S / 86_400
    typer.echo(
        f"result cache: {found.kept} entries are in use or younger than {days:g} day, "
        f"{len(found.keys)} can be removed"
    )
    if found.keys and not dry_run and (yes or typer.confirm("Remove them?")):
        typer.echo(f"removed {prune(root, units, found.keys)}")
    _prune_arrays(yes, dry_run)
    return CLEAN


def _prune_arrays(yes: bool, dry_run: bool) -> None:
    """Runs after the result cache is pruned: arrays that its remaining entries use are kept."""
    from synthct.data.store.receipts import arrays_url
    from synthct.data.store.result_cache import open_result_cache
    from synthct.flows.upkeep.pruning_arrays import prunable_objects, prune_objects
    from synthct.flows.workspace.project import find_root

    if not (url := arrays_url()):
        return
    found = prunable_objects(find_root(), open_result_cache(), url)
    typer.echo(
        f"{url}: {found.kept} array shards are in use, {len(found.names)} can be removed "
        f"({found.size / 1e9:.2f} GB)"
    )
    if (
        found.names
        and not dry_run
        and (yes or typer.confirm("Remove them (no other repository must use this prefix)?"))
    ):
        typer.echo(f"removed {prune_objects(url, found.names)}")


def _check_machine() -> list[CheckResult]:
    from pathlib import Path

    from synthct.flows.upkeep.doctor.hardware import check_hardware
    from synthct.flows.upkeep.doctor.packages import check_packages
    from synthct.flows.upkeep.doctor.storage import check_storage
    from synthct.flows.workspace.project import find_root

    try:
        root = find_root()
    except UsageError:
        root = None
    return [
        *check_packages(),
        *check_hardware(root or Path.cwd()),
        *check_storage(root),
    ]


def _show(results: list[CheckResult]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "warning": "yellow", "error": "bold red"}
    table = Table("", "about", "found", "remedy", box=None, padding=(0, 1))
    for each in results:
        mark = Text(str(each.status), style=styles[each.status])
        table.add_row(mark, Text(each.about), Text(each.found), Text(each.remedy, style="dim"))
    Console().print(table)
