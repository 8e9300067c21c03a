"""``synthct.ingest``: import de-identified copies of scans into a data set."""

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
    """The scans that were found, and those that were imported.

    Parameters
    ----------
    plan
        Every scan, structure set, dose and mask: new, known or refused.
    added
        ``PATIENT/SCAN`` of the written scans.
    overtaken
        ``PATIENT/SCAN`` of what another import added meanwhile; it is left as it is.
    """

    plan: IntakePlan
    added: tuple[str, ...] = ()
    overtaken: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[IntakeRow, ...]:
        """The table: one row per scan, structure set, dose or mask."""
        return self.plan.rows

    @property
    def refused(self) -> tuple[IntakeRow, ...]:
        """Rows that cannot be imported; their ``findings`` say why."""
        return self.plan.refused

    @property
    def notes(self) -> tuple[str, ...]:
        """Files that were skipped, and patients without a complete pair."""
        return self.plan.notes

    def write_manifest(self, path: PathLike) -> None:
        """Write a manifest template to a new file; it contains paths and patients.

        Raises
        ------
        UsageError
            The file exists.
        """
        from synthct.tasks.intake.manifest import write_manifest

        write_manifest(as_path(path), self.plan.to_fill_in)

    def as_json(self) -> dict[str, Any]:
        """Keys ``dataset added scans notes``; contains no file or patient names."""
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
    patient_from: int | None = None,
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
    """Import scans: each is read, checked, and copied without identifying data.

    Patients get pseudonyms by a keyed hash, whose key ``synthct key --new`` creates once. The
    originals are not modified. The command ``synthct ingest`` also tracks the data set with DVC.

    Parameters
    ----------
    sources
        Folders (searched recursively), zips of DICOM, image files.
    folder
        Folder of the data set: ``data/raw/NAME`` in a checkout. Scans already in it are skipped.
    dataset
        Name of the data set: lower-case letters, digits, - and _; by default the folder's name.
    region
        ``head-neck``, ``thorax``, ``abdomen`` or ``other``, for scans without one in the manifest.
    manifest
        CSV with the columns ``path, patient, modality, region``; overrides what the files state.
    patient_from
        Level of the folder that names the patient: 1 for ``SOURCE/PATIENT/...``. By default the
        headers and names of the files decide. The manifest takes precedence.
    licence, cite, non_commercial
        Licence of the scans, required citation, and whether commercial use is forbidden; copied
        into the model cards.
    deface
        Remove the face in the copies of head-neck scans.
    dry_run
        Only check the scans; nothing is written.
    to_fill_in
        New CSV file for a manifest template; it contains paths and patients.
    planned
        Called with the scans found before anything is written; may raise to stop.
    written
        Called with the result while the data set is still locked against other imports.
    progress
        Called with the phase (``"look"`` or ``"copy"``), the number done and the total.
    tell
        Called with a message when another import has to be waited for.

    Returns
    -------
    Intake
        What was found and what was imported.

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
    from synthct.tasks.intake import plan_intake, run_intake
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
        patient_from=patient_from,
        licence=terms,
        deface=deface,
        progress=_phase("look", progress),
    )
    found = Intake(plan)
    if planned is not None:
        planned(found)
    if to_fill_in is not None:
        found.write_manifest(to_fill_in)
    if dry_run or not (plan.new or plan.new_attachments or terms):
        return found
    with intake_lock(target, tell or (lambda text: None)):
        result = run_intake(plan, _phase("copy", progress))
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
