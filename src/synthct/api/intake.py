"""``synthct.ingest``: de-identified copies of scans into a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from os import PathLike as OsPathLike
from typing import TYPE_CHECKING, Any

from synthct.api.arguments import PathLike, as_path

if TYPE_CHECKING:
    from synthct.tasks.intake import IntakePlan, IntakeRow


@dataclass(frozen=True, eq=False)
class Intake:
    """What was found in the sources, and what was taken in.

    Parameters
    ----------
    plan
        Every scan and what lies beside it: new, known or refused.
    added
        ``PATIENT/SCAN`` of what was written.
    overtaken
        ``PATIENT/SCAN`` of what another intake entered since the plan was made: left as it is.
    """

    plan: IntakePlan
    added: tuple[str, ...] = ()
    overtaken: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[IntakeRow, ...]:
        """The table: one row a scan, structure set, dose or mask."""
        return self.plan.rows

    @property
    def refused(self) -> tuple[IntakeRow, ...]:
        """Rows that cannot be taken in; their ``findings`` say why."""
        return self.plan.refused

    @property
    def notes(self) -> tuple[str, ...]:
        """What was passed over, and patients that lack a scan."""
        return self.plan.notes

    def as_json(self) -> dict[str, Any]:
        """``dataset added scans notes`` as plain values; no name of a file or a person."""
        return {
            "dataset": self.plan.dataset,
            "added": list(self.added),
            "scans": [
                {**asdict(row), "findings": [finding.as_json() for finding in row.findings]}
                for row in self.rows
            ],
            "notes": list(self.notes),
        }


def ingest(
    sources: PathLike | Sequence[PathLike],
    folder: PathLike,
    *,
    dataset: str | None = None,
    region: str = "other",
    manifest: PathLike | None = None,
    licence: str | None = None,
    cite: str = "",
    non_commercial: bool = False,
    deface: bool = False,
    dry_run: bool = False,
    to_fill_in: PathLike | None = None,
    planned: Callable[[Intake], None] | None = None,
    written: Callable[[Intake], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Intake:
    """Take in scans: every one is read and checked once, and copied without its identity.

    Patients get pseudonyms by a keyed hash; ``synthct key --new`` makes the key, once. Originals
    are not touched. In a checkout, ``synthct ingest`` also has DVC remember the data set.

    Parameters
    ----------
    sources
        Folders (any nesting), zips of DICOM, image files.
    folder
        Of the data set: ``data/raw/NAME`` in a checkout. Scans that it has already are known again.
    dataset
        Name of the data set: lower-case letters, digits, - and _; by default the folder's.
    region
        ``head-neck``, ``thorax``, ``abdomen`` or ``other``, of scans that the manifest leaves open.
    manifest
        CSV with the columns ``path, patient, modality, region``: overrides names and folders.
    licence, cite, non_commercial
        Licence of the scans, what users must cite, whether commercial use is forbidden; they travel
        to the model card.
    deface
        Remove faces from the copies of head-neck scans.
    dry_run
        Only look; nothing is written.
    to_fill_in
        New CSV for a manifest of what was found, to fill in; it names paths and patients.
    planned
        Told what was found before anything is written; may raise to stop.
    written
        Told what was taken in, while the data set is still held against other intakes.
    progress
        Told ``"look"`` or ``"copy"``, how many are done and how many there are.
    tell
        Told a sentence where another intake has to be waited for.

    Raises
    ------
    UsageError
        No scans, an unknown region, a licence without a name, a data set of digital patients.

    Examples
    --------
    >>> import synthct
    >>> found = synthct.ingest("scans", "raw/trial", manifest="scans.csv", region="abdomen")
    >>> [row.status for row in found.rows]
    ['new', 'new']
    >>> len(found.added)
    2
    """
    from synthct.tasks.ingestion.dataset import Licence
    from synthct.tasks.intake import plan_intake, take_in
    from synthct.tasks.intake.manifest import write_manifest
    from synthct.tasks.intake.write import intake_lock

    given = [sources] if isinstance(sources, str | OsPathLike) else list(sources)
    target = as_path(folder)
    terms = Licence.named(licence, cite, non_commercial)
    plan = plan_intake(
        [as_path(source) for source in given],
        dataset if dataset is not None else target.resolve().name,
        target,
        as_path(manifest),
        region=region,
        licence=terms,
        deface=deface,
        progress=_phase("look", progress),
    )
    found = Intake(plan)
    if planned is not None:
        planned(found)
    if to_fill_in is not None:
        write_manifest(as_path(to_fill_in), plan.to_fill_in)
    if dry_run or not (plan.new or plan.new_attachments or terms):
        return found
    with intake_lock(target, tell or (lambda text: None)):
        result = take_in(plan, _phase("copy", progress))
        found = Intake(plan, result.added, result.overtaken)
        if written is not None:
            written(found)
    return found


def _phase(
    name: str, progress: Callable[[str, int, int], None] | None
) -> Callable[[int, int, str], None] | None:
    if progress is None:
        return None
    return lambda done, total, _: progress(name, done, total)
