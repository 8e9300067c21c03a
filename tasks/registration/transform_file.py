"""The transform as a file that ITK reads."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

TEXT, BINARY = "transform.tfm", "transform.h5"
"""Few numbers are readable text; a dense field as text would be gigabytes."""


def write_transform(folder: Path, transform: sitk.Transform) -> str:
    """Write ``transform.tfm`` or, where it holds a dense field, ``transform.h5``; its name."""
    name = BINARY if _is_dense(transform) else TEXT
    sitk.WriteTransform(transform, str(folder / name))
    return name


def _is_dense(transform: sitk.Transform) -> bool:
    plain = transform.Downcast()
    if isinstance(plain, sitk.CompositeTransform):
        return any(
            _is_dense(plain.GetNthTransform(n)) for n in range(plain.GetNumberOfTransforms())
        )
    return isinstance(plain, sitk.DisplacementFieldTransform)
