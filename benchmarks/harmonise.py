"""Error that another scanner adds on digital patients, and how much of it harmonisers recover."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from synthct.data.phantom.canvas import smooth_noise
from synthct.data.phantom.patient import Protocol, make_patient
from synthct.data.volume import Grid
from synthct.tasks.evaluation.baselines import BASELINES
from synthct.tasks.evaluation.naive import TrainingImages, UnseenImages
from synthct.tasks.models.description import Harmonise, SourceScaling
from synthct.tasks.models.normalise import fit_source
from synthct.tasks.pipeline.randomness import generator
from synthct.tasks.transport.harmonisers import HARMONISERS
from synthct.tasks.transport.laws import law_of, mean_law

REGION, SEED = "thorax", 20261130
SEEDS = int(os.environ.get("HARMONISE_SEEDS", "3"))
"""Independent sets of training patients and test patients."""
TRAIN, TEST = 4, 5
SPACING_MM = (8.0, 8.0, 8.0)
SCALING = SourceScaling(kind="zscore_in_mask")
DRAWS = 2000
GAMMA, SHADING, SHADING_MM, NOISE = 2.0, 0.3, 150.0, 0.06
"""The other scanner: exponent of its response; spread and smoothness of the logarithm of its coil's
sensitivity; noise as a share of the mean signal."""

Scan = tuple[np.ndarray, np.ndarray, np.ndarray]


def patient(seed: int, number: int) -> Scan:
    """MR, mask and the true CT of the same day, without registration."""

    def random(*names: object) -> np.random.Generator:
        return generator(SEED, "harmonise", str(seed), str(number), *map(str, names))

    protocol = Protocol(
        voxels_mm={"ct": SPACING_MM, "mr": SPACING_MM, "cbct": (32.0, 32.0, 32.0)},
        anatomy_mm=6.0, deformation_mm=(3.5, 7.0), setup_shift_mm=3.0, setup_turn_deg=1.2,
        ct_noise_hu=12.0, views=4, scatter=0.09, photons_per_mm2=2e4, mr_noise=0.025,
        mr_shading=0.15,
    )  # fmt: skip
    source = make_patient(REGION, protocol, random).sources["mr"]
    return source.scan.array, source.labels.array > 0, source.ct.array.astype(float)


def response(mr: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The same tissue with another contrast: a rising curve."""
    low, high = mr.min(), np.percentile(mr[mask], 99.5)
    return (np.clip((mr - low) / (high - low), 0, None) ** GAMMA * (high - low) + low).astype(float)


def coil(mr: np.ndarray, mask: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Shading of a surface coil and noise, which no curve of intensities undoes."""
    field = np.exp(SHADING * smooth_noise(random, Grid(mr.shape, SPACING_MM), SHADING_MM))
    least = mr.min()
    noise = NOISE * (mr - least)[mask].mean() * random.standard_normal(mr.shape)
    return np.asarray(least + (mr - least) * field + noise)


def shifts(
    mr: np.ndarray, mask: np.ndarray, random: np.random.Generator
) -> Mapping[str, np.ndarray]:
    """The scan by every scanner."""
    bent = response(mr, mask)
    return {"usual": mr, "response": bent, "response, shading, noise": coil(bent, mask, random)}


def errors(seed: int) -> dict[tuple[str, str], list[float]]:
    """MAE [HU] of every test patient by (scanner, harmoniser)."""
    lookup = BASELINES.build("lookup", {})
    train = [patient(seed, number) for number in range(TRAIN)]
    sums = [lookup.sums(TrainingImages(mr, mask, SCALING, ct)) for mr, mask, ct in train]
    fit = lookup.fit({key: sum(one[key] for one in sums) for key in sums[0]})
    law = mean_law([law_of(fit_source(mr, mask, SCALING)(mr[mask])) for mr, mask, _ in train])
    scalings = {"none": SCALING} | {
        name: SCALING.model_copy(update={"harmonise": Harmonise(name=name, law=law)})
        for name in HARMONISERS.names()
    }
    found: dict[tuple[str, str], list[float]] = {}
    for number in range(TRAIN, TRAIN + TEST):
        mr, mask, ct = patient(seed, number)
        random = generator(SEED, "harmonise", str(seed), str(number), "scanner")
        for scanner, scan in shifts(mr, mask, random).items():
            for name, scaling in scalings.items():
                answer = lookup.predict(UnseenImages(scan, mask, scaling, None), fit)
                mae = float(np.abs(answer - ct)[mask].mean())
                found.setdefault((scanner, name), []).append(mae)
    return found


def interval(values: np.ndarray, random: np.random.Generator) -> tuple[float, float, float]:
    """Mean of values (seeds, patients) and its 95 % interval, drawn over seeds and patients."""
    means = []
    for _ in range(DRAWS):
        rows = values[random.integers(len(values), size=len(values))]
        means.append(
            np.mean([row[random.integers(row.size, size=row.size)].mean() for row in rows])
        )
    low, high = np.percentile(means, (2.5, 97.5))
    return float(values.mean()), float(low), float(high)


def measure() -> str:
    """The page's text."""
    runs = [errors(seed) for seed in range(SEEDS)]
    table = {key: np.array([run[key] for run in runs]) for key in runs[0]}
    random = np.random.default_rng(SEED)
    lines = [
        "| scanner | harmoniser | MAE [HU] | added by the scanner [HU] | recovered [HU] "
        "| recovered [%] |",
        "|---|---|---|---|---|---|",
    ]
    for (scanner, name), mae in table.items():
        lost = table[scanner, "none"] - table["usual", "none"]
        cells = [f"{mae.mean():.1f}", "–", "–", "–"]
        if name == "none" and scanner != "usual":
            cells[1] = _shown(interval(lost, random))
        elif name != "none":
            back = table[scanner, "none"] - mae
            cells[2] = _shown(interval(back, random))
            if scanner != "usual":
                cells[3] = f"{100 * back.mean() / lost.mean():.0f}"
        lines.append(f"| {scanner} | {name} | {' | '.join(cells)} |")
    return (
        f"An intensity look-up (no network) fitted on {TRAIN} digital {REGION} patients at "
        f"{SPACING_MM[0]:g} mm and applied to {TEST} others, for {SEEDS} independent sets of both. "
        f"*Response*: intensities to the power {GAMMA:g}, as with another contrast. *Shading, "
        f"noise*: a surface coil whose sensitivity has a logarithm with a spread of {SHADING:g}, "
        f"and noise of {NOISE:g} of the mean signal. The harmonisers use only the mean intensity "
        "distribution of the training scans. 95 % bootstrap intervals over sets and patients.\n\n"
        + "\n".join(lines)
        + "\n\nThe rows of the usual scanner show the cost of a harmoniser that was not needed: it "
        "also removes differences between patients.\n"
    )


def _shown(found: tuple[float, float, float]) -> str:
    mean, low, high = found
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"
