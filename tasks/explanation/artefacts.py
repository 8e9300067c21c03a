"""Files of training and registration for an explanation, each checked before it is used."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import nn

from synthct.data.errors import DataError, MachineError, UsageError, did_you_mean, mask_empty
from synthct.data.store.volumes import read_volume
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.pipeline.artefacts import CT, FOLDS, MASK, MODEL, SOURCE
from synthct.tasks.training.runner import load_network

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, FileNotFoundError, SafetensorError)
"""Exceptions that parsers of JSON, model descriptions and weights raise for a damaged file."""


@dataclass(frozen=True, eq=False)
class Scans:
    """Volumes of one registered case on its working grid.

    Parameters
    ----------
    source, ct
        Intensities of the source and HU, (Z, Y, X).
    inside
        True in the body, (Z, Y, X).
    spacing_mm
        Of the grid, (z, y, x).
    """

    source: NDArray[Any]
    ct: NDArray[Any]
    inside: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]


def read_scans(folder: Path) -> Scans:
    """The volumes of one case.

    Raises
    ------
    DataError
        ``mask-empty``, ``grids-differ``, or ``not-finite`` in the body.
    MachineError
        A volume is missing or damaged.
    """
    source, mask, ct = (read_volume(folder / part) for part in (SOURCE, MASK, CT))
    inside = np.asarray(mask.array) > 0
    if not inside.any():
        raise mask_empty("the body mask", "the case", where=str(folder / MASK))
    for name, volume in ((SOURCE, source), (CT, ct)):
        if not volume.grid.is_close(mask.grid):
            raise DataError(
                f"the volume has the shape {volume.grid.shape}, the mask {mask.grid.shape}",
                rule="all volumes of a case lie on its working grid",
                where=str(folder / name),
                remedy="run the registration stage again",
                code="grids-differ",
            )
        if not np.isfinite(np.asarray(volume.array)[inside]).all():
            raise DataError(
                "some voxels inside the body are NaN or infinite",
                rule="a registered scan holds finite numbers",
                where=str(folder / name),
                remedy="run the registration stage again",
                code="not-finite",
            )
    return Scans(np.asarray(source.array), np.asarray(ct.array), inside, mask.grid.spacing_mm)


def read_fold(training: Path, case: str) -> tuple[ModelDescription, nn.Module, Sequence[str]]:
    """Description and network of the fold that tests the case, and its training cases.

    Raises
    ------
    UsageError
        ``no-case``: no trained fold tests the case.
    MachineError
        ``artefact-damaged``: a file of the training stage cannot be read.
    """
    tested: dict[str, tuple[Path, Sequence[str]]] = {}
    if (training / FOLDS).is_file():
        with _read(training / FOLDS):
            for source, folds in json.loads((training / FOLDS).read_text()).items():
                for number, fold in enumerate(folds):
                    folder = training / f"{source}_fold{number}"
                    if (folder / MODEL).is_file():
                        tested |= dict.fromkeys(fold["test"], (folder, fold["train"]))
    if case not in tested:
        raise UsageError(
            f"no trained fold tests a case called {case!r}",
            rule="a voxel is explained by the network that has not seen its patient",
            where=str(training),
            remedy=did_you_mean(case, tested)
            if tested
            else "train first: synthct run --until training",
            code="no-case",
        )
    folder, train = tested[case]
    with _read(folder / MODEL):
        model = ModelDescription.load(folder / MODEL)
    with _read(folder):
        return model, load_network(folder), train


@contextmanager
def _read(path: Path) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        raise MachineError(
            f"it cannot be read: {str(error).splitlines()[0]}",
            rule="explanations use the files that the training stage wrote, unchanged",
            where=str(path),
            remedy="delete the output of training and run it again: synthct run --until training",
            code="artefact-damaged",
        ) from error
