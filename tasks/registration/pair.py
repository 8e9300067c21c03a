"""Registration of two files, with gate verdict; implements ``synthct register``."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from synthct.data.errors import DataError, UsageError, did_you_mean, nearest
from synthct.data.files import canonical_json, whole_folder, write_whole
from synthct.data.orientation import reordered_onto
from synthct.data.readers import format_of, pick_series, read_scan
from synthct.data.section import REGIONS
from synthct.data.volume import Displacement, Modality, Volume
from synthct.data.writers import write_displacement_image, write_image
from synthct.tasks.ingestion.body import body_mask
from synthct.tasks.ingestion.params import BodyParams
from synthct.tasks.pipeline.artefacts import QUALITY
from synthct.tasks.pipeline.threads import limit_threads
from synthct.tasks.registration.align import Tell
from synthct.tasks.registration.gate.gate import doubted
from synthct.tasks.registration.gate.measures import as_ct
from synthct.tasks.registration.gate.params import GateParams
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.presets import preset_called, usual_preset
from synthct.tasks.registration.register import Registered, register
from synthct.tasks.registration.results import write_transform
from synthct.tasks.registration.rigid.initial import most_informative, read_initial
from synthct.tasks.registration.scan_pair import SAME_PLACE, ScanPair, check_scan
from synthct.tasks.registration.sides import Sides, sides_of

STEPS = ("read", "rigid", "deformable", "gate", "write")
"""Steps reported to ``progress``; ``back`` follows ``gate`` if ``register_back`` is set."""

PICTURE = "before_after.png"

_QUALITY = QUALITY
"""Marker file: a folder that contains it is an earlier registration and may be replaced."""


@dataclass(frozen=True, eq=False)
class RegisteredPair:
    """A registered pair in memory.

    Parameters
    ----------
    done
        Both scans on the working grid, the transform and the gate verdict.
    quality
        Quality measures, verdict and settings, as in ``quality.json``.
    """

    done: Registered
    quality: Mapping[str, Any]

    @property
    def moved(self) -> Volume:
        """The moving scan on the grid of the fixed one; a CT as int16 [HU]."""
        moved = self.done.moved.scan
        return as_ct(moved) if moved.modality is Modality.CT else moved

    @property
    def displacement(self) -> Displacement:
        """Fixed -> moving points [mm, LPS]."""
        return self.done.moved.displacement


def register_files(
    fixed: Path,
    moving: Path,
    *,
    fixed_mask: Path | None = None,
    moving_mask: Path | None = None,
    fixed_modality: Modality | None = None,
    moving_modality: Modality | None = None,
    series: tuple[str, str] = ("", ""),
    initial: Sequence[Path] = (),
    method: str = "elastix_mi",
    method_options: Mapping[str, Any] | None = None,
    preset: str | None = None,
    region: str = "other",
    out: Path | None = None,
    seed: int = 0,
    threads: int = 1,
    gate: GateParams | None = None,
    progress: Tell | None = None,
) -> RegisteredPair:
    """Register two files on the grid of ``fixed``; with ``out``, also write a results folder.

    The folder contains ``moved.mha``, ``displacement.mha`` (fixed -> moving [mm, LPS]),
    ``quality.json``, the same mapping as an ITK transform (``transform.tfm``, or ``transform.h5``
    for a dense field) and, where matplotlib is installed, ``before_after.png``.

    Parameters
    ----------
    fixed, moving
        Scans: DICOM folder or zip, NIfTI, MHA, NRRD.
    fixed_mask, moving_mask
        Body masks (> 0) on the grids of their scans; by default found by threshold.
    fixed_modality, moving_modality
        Modality of a scan that is not DICOM.
    series
        Number, description or UID of the fixed and the moving series, where a DICOM folder or zip
        contains several candidates.
    initial
        Initial rigid ITK transforms (fixed -> moving points); of several, the one with the
        highest mutual information is used. Without any, the scanner's frame and a few shifts
        are tried.
    method, method_options
        Name of the method in ``synthct.tasks.registration.methods`` and its parameters.
    preset
        Name of the preset; by default, the published one for modality and region.
    out
        Results folder, written atomically; a folder with other contents is never replaced.
    seed, threads
        Results are bitwise reproducible for the same seed and thread count.
    progress
        Called with each of :data:`STEPS` when it starts.
    """
    tell = progress or (lambda step: None)
    chosen = METHODS.build(method, method_options or {}, where="--method")
    chosen.plugins()  # names and parameters are checked before any file is read
    begins = [read_initial(path) for path in initial]
    if out is not None:
        _check_out(out)
    wanted = preset_called(preset, where="--settings") if preset else None
    _require_region(region)
    _require_order(fixed_modality, moving_modality, fixed)
    tell("read")
    scans = (
        _read_scan(fixed, fixed_modality, "fixed", series[0]),
        _read_scan(moving, moving_modality, "moving", series[1]),
    )
    _require_order(scans[0].modality, scans[1].modality, fixed)
    bodies = (
        _body("fixed", scans[0], fixed, fixed_mask, region),
        _body("moving", scans[1], moving, moving_mask, region),
    )
    pair = ScanPair(*scans, *bodies)
    start = most_informative(pair, begins) if begins else None
    tuned = wanted or preset_called(usual_preset(_source(pair.fixed), region))
    with limit_threads(threads):
        done = register(
            pair,
            pair.fixed.grid,
            tuned,
            gate or GateParams(),
            chosen,
            initial=None if start is None else start[1],
            seed=seed,
            threads=threads,
            tell=tell,
        )
        sides = sides_of(pair, None if start is None else start[1])
    done = _after_sides(done, sides)
    facts = {
        "method": method,
        "method_facts": chosen.facts(),
        "seed": seed,
        "initial": None if start is None else start[0],
    }
    made = RegisteredPair(done, {**done.quality, **facts})
    if out is None:
        return made
    tell("write")
    return replace(made, quality=_write(out, made))


_WANTED = {"fixed": (Modality.MR, Modality.CBCT), "moving": (Modality.CT,)}
"""Accepted modalities where a folder contains volumes of several."""


def _require_region(region: str) -> None:
    if region not in REGIONS:
        raise UsageError(
            f"there is no region {region!r}",
            rule=f"a region is {', '.join(REGIONS)}",
            where="--region",
            remedy=did_you_mean(region, REGIONS) if nearest(region, REGIONS) else "use other",
            code="unknown-region",
        )


def _require_order(fixed: Modality | None, moving: Modality | None, where: Path) -> None:
    """Refuse a CT as the fixed scan of an MR or cone-beam CT: the two are swapped."""
    if fixed is Modality.CT and moving in _WANTED["fixed"]:
        raise UsageError(
            f"the fixed scan is a CT, the moving one {'an' if moving is Modality.MR else 'a'} "
            f"{moving}",
            rule="the CT is moved onto the MR or cone-beam CT",
            where=str(where),
            remedy="exchange --fixed and --moving",
            code="fixed-moving-swapped",
        )


def _read_scan(path: Path, modality: Modality | None, role: str, selector: str) -> Volume:
    if modality is None and format_of(path) != "dicom":
        raise UsageError(
            f"the modality of the {role} scan is not known",
            rule="only DICOM files state their modality",
            where=str(path),
            remedy=f"state it with --{role}-modality ct, mr or cbct",
            code="modality-unknown",
        )
    wanted = [modality] if modality else _WANTED[role]
    return read_scan(path, modality, series=pick_series(path, selector, wanted))


def _after_sides(done: Registered, sides: Sides) -> Registered:
    """Set the verdict to fail for a pair that fits only as its mirror image; say what is open."""
    judgement = done.judgement
    if sides.doubt:
        reason = "; ".join(filter(None, (sides.doubt, judgement.reason)))
        judgement = replace(judgement, verdict="fail", reason=reason)
    elif sides.suspicion:
        judgement = doubted(judgement, sides.suspicion)
    quality = {
        **done.quality,
        **asdict(judgement),
        "sides": sides.information,
        "notes": [sides.note] if sides.note else [],
    }
    return replace(done, judgement=judgement, quality=quality)


def _check_out(out: Path) -> None:
    if out.exists() and not (out / _QUALITY).is_file() and (out.is_file() or any(out.iterdir())):
        raise UsageError(
            "the output folder holds other files",
            rule="results go into a folder that is new, empty or holds an earlier registration",
            where=str(out),
            remedy="name another folder",
            code="out-not-empty",
        )


def _source(fixed: Volume) -> str:
    return "mr" if fixed.modality is Modality.MR else "cbct"


def _body(role: str, scan: Volume, path: Path, mask: Path | None, region: str) -> Volume:
    """The body of a scan; an error names the file of the mask or of the scan."""
    try:
        body = body_mask(scan, BodyParams(), region) if mask is None else _given(scan, mask)
        check_scan(role, scan, body)
    except DataError as error:
        blames_mask = mask is not None and error.code.startswith("mask")
        raise error.at(str(mask if blames_mask else path)) from None
    return body


def _given(scan: Volume, mask: Path) -> Volume:
    """A mask file; only a different axis order is accepted, the check refuses other places."""
    given = read_scan(mask, Modality.MASK)
    tolerance_mm = SAME_PLACE * min(scan.grid.spacing_mm)
    return reordered_onto(given, scan.grid, tolerance_mm) or given


def _write(out: Path, made: RegisteredPair) -> dict[str, Any]:
    with whole_folder(out) as folder:
        write_image(folder / "moved.mha", made.moved)
        write_displacement_image(folder / "displacement.mha", made.displacement)
        name = write_transform(folder, made.done.transform)
        picture = _picture(made.done)
        if picture:
            write_whole(folder / PICTURE, picture)
        quality = {**made.quality, "transform": name, "picture": bool(picture)}
        write_whole(folder / _QUALITY, canonical_json(quality))
    return quality


def _picture(done: Registered) -> bytes:
    """The figure as PNG; empty where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return b""
    from synthct.tasks.registration.picture import before_after_png

    verdict = done.judgement
    return before_after_png(done, title=f"{verdict.step}: {verdict.verdict}")
