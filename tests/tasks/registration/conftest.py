"""A textured pair with a known displacement, registered once for all tests that look at it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from synthct.data.store.volumes import write_displacement, write_volume
from synthct.data.volume import Displacement, Grid, Modality, Volume
from synthct.tasks.registration.gate.params import GateParams
from synthct.tasks.registration.preset import BSplineStep, Preset, RigidStep

SHAPE, SPACING = (30, 48, 48), (5.0, 4.0, 4.0)
SHIFT_MM = (3.0, -7.0, 5.0)

QUICK = Preset(
    name="quick",
    bspline=BSplineStep(
        bending_weight=20.0,
        bins=32,
        grid_mm=24.0,
        pyramid_factors=(4, 2, 1),
        iterations=(80, 80, 80),
        samples=2000,
        sample_region_mm=0.0,
        interpolation_order=1,
    ),
    rigid=RigidStep(pyramid_factors=(4, 2, 1), iterations=(80, 60, 40), samples=1500),
)


@dataclass(frozen=True, eq=False)
class Known:
    """An MR-like and a CT volume of one textured body, with the truth between them."""

    fixed: Volume
    moving: Volume
    fixed_body: Volume
    moving_body: Volume
    truth: Displacement
    truth_ct: Volume

    def write(self, folder: Path, source: str = "mr") -> dict[str, Path]:
        """Store everything as ingestion does; the paths by the unit's parameter names."""
        volumes = {
            "fixed": (f"{source}.zarr", self.fixed),
            "moving": ("ct.zarr", self.moving),
            "fixed_body": (f"{source}_body.zarr", self.fixed_body),
            "moving_body": ("ct_body.zarr", self.moving_body),
            "truth_ct": (f"truth/{source}/ct.zarr", self.truth_ct),
        }
        for name, volume in volumes.values():
            write_volume(folder / name, volume)
        write_displacement(folder / f"truth/{source}/displacement.zarr", self.truth)
        paths = {parameter: folder / name for parameter, (name, _) in volumes.items()}
        return paths | {"truth_displacement": folder / f"truth/{source}/displacement.zarr"}


def make_known(seed: int = 0, *, mean_mm: float = 6.0, shift_mm=SHIFT_MM) -> Known:
    rng = np.random.default_rng(seed)
    grid = Grid(SHAPE, SPACING, (-70.0, -96.0, -90.0))
    texture = gaussian_filter(rng.normal(size=SHAPE), 1.6)
    texture /= texture.std()
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    body = y**2 / 0.6 + x**2 / 0.8 + z**8 / 0.8 < 1
    ct = np.where(body, np.clip(texture * 80, -150, 1200), -1000)
    u = np.stack([gaussian_filter(rng.normal(size=SHAPE), 6) for _ in range(3)])
    u *= mean_mm / max(1e-9, np.linalg.norm(u, axis=0)[body].mean())
    u += np.asarray(shift_mm)[:, None, None, None]
    index = np.indices(SHAPE) + u / np.asarray(SPACING)[:, None, None, None]
    moved = map_coordinates(ct, index, order=1, mode="nearest")
    there = map_coordinates(body.astype(float), index, order=1) > 0.5
    noise = rng.normal(size=SHAPE) * 6
    mr = np.where(there, 300 - np.abs(moved - 40) + noise, np.abs(noise))
    return Known(
        fixed=Volume(mr.astype(np.float32), grid, Modality.MR),
        moving=Volume(ct.astype(np.int16), grid, Modality.CT),
        fixed_body=Volume(there.astype(np.uint8), grid, Modality.MASK),
        moving_body=Volume(body.astype(np.uint8), grid, Modality.MASK),
        truth=Displacement(u.astype(np.float32), grid),
        truth_ct=Volume(np.rint(moved).astype(np.int16), grid, Modality.CT),
    )


def case_arguments(**changes):
    """Plain JSON arguments of ``register_case``."""
    arguments = {
        "case": "XX-01_mr",
        "patient": "XX-01",
        "source": "mr",
        "region": "other",
        "synthetic": True,
        "method": "elastix_mi",
        "preset": asdict(QUICK),
        "gate": GateParams().model_dump(),
        "grid_spacing_mm": [5.0, 4.0, 4.0],
        "margin_mm": 12.0,
        "seed": 7,
        "threads": 1,
    }
    return json.loads(json.dumps(arguments | changes))


@pytest.fixture(scope="session")
def known() -> Known:
    return make_known()


@pytest.fixture(scope="session")
def quick() -> Preset:
    return QUICK


@pytest.fixture(scope="session")
def make():
    return make_known


@pytest.fixture(scope="session")
def arguments():
    return case_arguments


@pytest.fixture(scope="session")
def stored(known, tmp_path_factory):
    """Paths of the known pair as ingestion stores it."""
    return known.write(tmp_path_factory.mktemp("ingested"))


@pytest.fixture(scope="session")
def case(stored, tmp_path_factory) -> Path:
    """The registered case's folder."""
    from synthct.tasks.registration.case import register_case

    out = tmp_path_factory.mktemp("case")
    register_case(out=out, **stored, **case_arguments())
    return out
