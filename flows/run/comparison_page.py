"""Two workspaces side by side as one offline HTML page, with pictures of the same cases."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from synthct.flows.run.comparing import case_errors
from synthct.flows.workspace.project import Project
from synthct.tasks.figures.names import MEASURES, reference_name, source_name
from synthct.tasks.figures.numbers import digits_for, fixed
from synthct.tasks.figures.page import FOLDER
from synthct.tasks.figures.pictures import (
    DIVERGING,
    WINDOWS,
    Codes,
    colour_tables,
    shrink,
    signed_codes,
    stretch_codes,
    uri,
)
from synthct.tasks.figures.templates import templates
from synthct.tasks.pipeline.artefacts import CT, MASK, SCT, SOURCE
from synthct.tasks.report.strips import MIN_AREA, Scene, choose_slices, read_scene, source_limits

ERROR_HU = 200.0
PIXELS, QUALITY = 384, 80


@dataclass(frozen=True)
class Picture:
    """One picture of a slice; ``light``: colours of an error instead of greys."""

    caption: str
    uri: str
    light: bool = False


@dataclass(frozen=True)
class DrawnCase:
    """A case in both workspaces: errors (first, second) [HU] and an axial slice of each."""

    case: str
    why: str
    errors_hu: tuple[float, float]
    z_mm: float
    width_mm: float
    height_mm: float
    pictures: tuple[Picture, ...]


def comparison_page(first: Project, second: Project, document: Mapping[str, Any]) -> str:
    """The page of what :func:`compare` found, as text.

    For each source it draws three cases: where the second model is better by most, in the middle
    and worse by most, each in the slice where the two errors differ most. Cases whose volumes are
    not in the checkout are left to the tables.
    """
    low, high = WINDOWS["soft"][1:]
    return (
        templates(Path(__file__).parent)
        .get_template("comparison.html.j2")
        .render(
            style=Markup((FOLDER / "report.css").read_text()),
            gradient=Markup(", ".join(DIVERGING)),
            first=first.name,
            second=second.name,
            scores=[_row(row) for row in document["scores"]],
            releases=document["releases"],
            params={
                key: [json.dumps(value) for value in values]
                for key, values in document["params"].items()
            },
            sources=[
                (source_name(source), list(_drawn(first, second, errors)))
                for source, errors in case_errors(first, second).items()
            ],
            window=f"{fixed(low, 0)} to {fixed(high, 0)} HU",
            error_hu=fixed(ERROR_HU, 0),
        )
    )


def _row(row: Mapping[str, Any]) -> dict[str, str]:
    name, unit = MEASURES.get(row["metric"], (row["metric"], ""))
    digits = max(1, digits_for([row["first"], row["second"]]))
    interval = "too few cases"
    if row["low"] is not None:
        interval = f"{fixed(row['low'], digits)} to {fixed(row['high'], digits)}"
    return {
        "source": source_name(row["source"]),
        "reference": reference_name(row["reference"]),
        "metric": f"{name} [{unit}]" if unit else name,
        "cases": str(row["cases"]),
        **{key: fixed(row[key], digits) for key in ("first", "second", "difference")},
        "interval": interval,
    }


def _drawn(
    first: Project, second: Project, errors: Mapping[str, tuple[float, float]]
) -> Iterator[DrawnCase]:
    able = [case for case in errors if all(_volumes_of(each, case) for each in (first, second))]
    order = sorted(able, key=lambda case: (errors[case][1] - errors[case][0], case))
    for place in sorted({0, len(order) // 2, len(order) - 1}) if order else ():
        case, why = order[place], f"{place + 1} of {len(order)} by difference"
        scenes = [read_scene(*_folders(each, case)) for each in (first, second)]
        yield _draw(case, why, errors[case], scenes[0], scenes[1], (first.name, second.name))


def _folders(project: Project, case: str) -> tuple[Path, Path]:
    """Folders of a case in the outputs of registration and evaluation."""
    stages = [project.stage(name) for name in ("registration", "evaluation")]
    here, there = (project.root / stage.out / case for stage in stages if stage is not None)
    return here, there


def _volumes_of(project: Project, case: str) -> bool:
    registration, evaluation = _folders(project, case)
    return (evaluation / SCT).is_dir() and all(
        (registration / name).is_dir() for name in (SOURCE, CT, MASK)
    )


def _draw(
    case: str,
    why: str,
    errors_hu: tuple[float, float],
    first: Scene,
    second: Scene,
    names: tuple[str, str],
) -> DrawnCase:
    here = _most_different_slice(first, second)
    z_mm = float(_heights_mm(first)[here])
    there = int(np.argmin(np.abs(_heights_mm(second) - z_mm)))
    low, high = WINDOWS["soft"][1:]

    def grey(values: NDArray[Any], limits: tuple[float, float] = (low, high)) -> str:
        return uri(stretch_codes(shrink(values, PIXELS), *limits), QUALITY)

    def error(scene: Scene, z: int) -> str:
        inside = shrink(scene.mask[z], PIXELS) >= 0.5
        codes = signed_codes(shrink(scene.error(z), PIXELS), ERROR_HU)
        return uri(_coloured(codes), QUALITY, inside)

    limits = source_limits(first.source, first.mask)
    _, height_mm, width_mm = first.ct.grid.extent_mm
    pictures = (
        Picture(str(first.source.modality), grey(first.source.array[here], limits)),
        Picture("CT (registered)", grey(first.ct.array[here])),
        Picture(f"{names[0]}: synthetic CT", grey(first.sct.array[here])),
        Picture(f"{names[1]}: synthetic CT", grey(second.sct.array[there])),
        Picture(f"{names[0]}: error", error(first, here), light=True),
        Picture(f"{names[1]}: error", error(second, there), light=True),
    )
    return DrawnCase(case, why, errors_hu, z_mm, width_mm, height_mm, pictures)


def _most_different_slice(first: Scene, second: Scene) -> int:
    """Slice of the first scene, among those with enough body, where the errors differ most."""
    (_, mae), (_, other) = choose_slices(first, 1), choose_slices(second, 1)
    heights = _heights_mm(second)
    up = np.argsort(heights)
    difference = np.abs(mae - np.interp(_heights_mm(first), heights[up], other[up]))
    area = first.mask.sum(axis=(1, 2))
    enough = area >= MIN_AREA * max(1, area.max())
    return int(np.argmax(np.where(enough, difference, -1.0)))


def _heights_mm(scene: Scene) -> NDArray[np.float64]:
    """Position z of each slice [mm]."""
    count = scene.ct.grid.shape[0]
    index = np.stack([np.arange(count), np.zeros(count), np.zeros(count)], axis=1)
    return np.asarray(scene.ct.grid.points(index)[:, 0])


def _coloured(codes: Codes) -> Codes:
    """Red, green and blue (rows, columns, 3) of signed codes."""
    table = colour_tables()
    steps = np.linspace(0, 255, table.shape[1])
    every = np.stack([np.interp(np.arange(256), steps, channel) for channel in table], axis=1)
    colours: Codes = np.round(255 * every).astype(np.uint8)
    return colours[codes]
