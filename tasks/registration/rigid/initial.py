"""Initial rigid transforms: read from a file and applied to image headers, not resampled."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from synthct.data.errors import UsageError
from synthct.tasks.fields.geometry import carried_back
from synthct.tasks.registration.rigid.landscape import Affine
from synthct.tasks.registration.rigid.starts import Overview
from synthct.tasks.registration.scan_pair import ScanPair

ROUNDING = 1e-4
"""Maximum deviation from a rotation matrix attributed to rounding in a text file [1]."""


def read_initial(path: Path) -> sitk.Transform:
    """A rigid transform (fixed -> moving points) from an ITK file (.tfm, .txt, .h5, .mat)."""
    try:
        with tempfile.TemporaryDirectory(prefix="synthct-transform-") as folder:
            # ITK rejects names that are not UTF-8 and infers the format from the extension.
            link = Path(folder) / f"initial{ascii(path.suffix)[1:-1]}"
            link.symlink_to(path.absolute())
            transform: sitk.Transform = sitk.ReadTransform(str(link))
    except RuntimeError as error:
        raise UsageError(
            "there is no such file" if not path.is_file() else "ITK cannot read the file",
            rule="an initial transform is a file that ITK wrote (.tfm, .h5)",
            where=str(path),
            code="initial-unreadable",
        ) from error
    if not _is_rigid(transform):
        raise UsageError(
            f"the transform is a {transform.Downcast().GetName()}",
            rule="an initial transform is rigid (fixed to moving points, 3-D)",
            where=str(path),
            remedy="give its rigid part; the method finds what remains",
            code="initial-not-rigid",
        )
    return transform


def _is_rigid(transform: sitk.Transform) -> bool:
    if transform.GetDimension() != 3 or not transform.IsLinear():
        return False
    matrix = Affine.of(transform).matrix
    same = np.abs(matrix.T @ matrix - np.eye(3)).max() < ROUNDING
    return bool(same and np.linalg.det(matrix) > 0)


def most_informative(
    pair: ScanPair, initials: Sequence[sitk.Transform]
) -> tuple[int, sitk.Transform]:
    """Index and value of the initial transform with the highest mutual information."""
    view = Overview.of(pair)
    found = [view.information(transform) for transform in initials]
    best = int(np.argmax(found))
    return best, initials[best]


def placed(pair: ScanPair, initial: sitk.Transform | None) -> ScanPair:
    """The pair with ``initial`` applied to the moving scan: only its header changes."""
    if initial is None:
        return pair
    return replace(
        pair,
        moving=carried_back(pair.moving, initial),
        moving_body=carried_back(pair.moving_body, initial),
    )


def after(initial: sitk.Transform, found: sitk.Transform) -> sitk.CompositeTransform:
    """The transform x -> initial(found(x)), flattened: ITK cannot write nested transforms."""
    # ITK applies the transform added last first.
    both = sitk.CompositeTransform([initial, found])
    both.FlattenTransform()
    return both
