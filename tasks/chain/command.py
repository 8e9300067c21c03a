"""``python -m synthct.tasks STAGE``: runs one stage in this process; dvc.yaml calls it."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

from synthct.data.environment import DEBUG
from synthct.data.errors import SynthctError, UsageError
from synthct.data.os_errors import machine_error
from synthct.data.section import Section
from synthct.data.store.cache_lock import shared_lock
from synthct.data.store.result_cache import open_result_cache
from synthct.data.temporary import sweep
from synthct.tasks.chain.params import Params, layout_of, load_params
from synthct.tasks.chain.table import (
    STAGES,
    active_stages,
    methods_up_to,
    stage_called,
    write_dvc_file,
)
from synthct.tasks.pipeline import fanout, terminal
from synthct.tasks.pipeline.code import source_root
from synthct.tasks.pipeline.ending import Terminated, die_with_parent, graceful_termination
from synthct.tasks.pipeline.packages import require_recorded
from synthct.tasks.pipeline.stage import EXCLUDED, StageContext


def main(arguments: list[str] | None = None, *, prefix: str = "") -> int:
    """Run one stage; exit code 0: done (exclusions are in its output), 1: failed, 2: usage.

    Parameters
    ----------
    arguments
        Command line; None: that of the process.
    prefix
        Text before the line that reports an error.
    """
    parser = argparse.ArgumentParser(
        prog="python -m synthct.tasks",
        description="Run one stage of the chain in this process, or render the DAG.",
        epilog="stages: " + "; ".join(f"{s.name} ({s.summary})" for s in STAGES),
    )
    parser.add_argument("stage", help="name of a stage, or `dag` to render dvc.yaml")
    parser.add_argument(
        "--workspace", default=".", help="folder with params.yaml (default: the root)"
    )
    options = parser.parse_args(arguments)
    die_with_parent()
    try:
        with graceful_termination():
            sweep()
            return _run(options.stage, Path(options.workspace))
    except Terminated as ended:
        sys.stderr.write(f"{prefix}{ended}; finished units are kept\n")
        return ended.exit_code
    except SynthctError as error:
        sys.stderr.write(f"{prefix}{error}\n")
        return 2 if isinstance(error, UsageError) else 1
    except OSError as error:
        if os.environ.get(DEBUG):
            raise
        sys.stderr.write(f"{prefix}{machine_error(error)}\n")
        return 1


def _run(name: str, workspace: Path) -> int:
    if name == "dag":
        write_dvc_file(workspace)
        return 0
    stage = stage_called(name)
    _check_checkout()
    require_recorded(stage.module)
    params = load_params(workspace / "params.yaml")
    if stage not in active_stages(params):
        raise UsageError(
            f"stage {name!r} does not run in this workspace: its section is null, or the workspace "
            "is of the other kind (a study, or one model)",
            where=str(workspace / "params.yaml"),
            remedy=f"run one of {', '.join(one.name for one in active_stages(params))}",
            code="stage-not-active",
        )
    context = context_of(workspace, params, name)
    with terminal.progress(name), shared_lock(context.units.place()):
        importlib.import_module(stage.module).run(context, getattr(params, name))
    excluded = json.loads((context.artefact(name) / EXCLUDED).read_text())
    for row in excluded:
        reason = row.get("problem") or row.get("rule", "")
        sys.stderr.write(f"excluded {row.get('unit', '')}: {reason}\n")
    return 0


def context_of(workspace: Path, params: Params, stage: str) -> StageContext:
    """The context of a stage, from the params and the environment."""
    return StageContext(
        layout=layout_of(workspace, params),
        seed=params.seed,
        units=open_result_cache(),
        fan_out=fanout.from_environment(),
        threads_per_unit=params.compute.threads_per_unit,
        max_excluded_fraction=params.max_excluded_fraction,
        sections={name: section for name, section in params if isinstance(section, Section)},
        methods=methods_up_to(stage, params),
    )


def _check_checkout() -> None:
    """Require that the running code is the one that DVC hashes: that in the working directory."""
    if source_root() != Path.cwd().resolve():
        raise UsageError(
            f"the running code belongs to another checkout: {source_root()}",
            rule="a stage runs from the root of its own checkout",
            where=str(Path.cwd()),
            remedy="cd to the root of that checkout, or run `make setup` in this one",
            code="other-checkout",
        )


if __name__ == "__main__":
    sys.exit(main())
