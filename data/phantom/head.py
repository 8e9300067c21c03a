"""The skull with brain, ventricles, orbits and sinuses. Palate at z = -12, vertex at 110."""

from __future__ import annotations

import numpy as np

from synthct.data.phantom.canvas import Canvas, smooth_noise
from synthct.data.phantom.shapes import (
    Shape,
    above,
    capsule,
    curve,
    ellipsoid,
    half_space,
    tube,
    turned,
)  # fmt: skip

SOFT = ("muscle", "visceral_fat", "fat", "skin")
THIN = {"cortical_bone": 0.0}


def scalp() -> Shape:
    """Outer surface of the cranium."""
    return ellipsoid((40, 12, 0), (72, 98, 78), power=2.15)


def paint_cranium(canvas: Canvas, rng: np.random.Generator) -> None:
    """Skull vault and base with all that is in it."""
    floor = half_space((1, 0.22, 0), 1.0)
    posterior = ellipsoid((-1, 48, 0), (24, 42, 52))
    vault = (scalp().grown(-6.5) & floor).blended(posterior, 12)
    layers = {"cortical_bone": 0, "diploe": 1.8, "csf": 6.0, "grey_matter": 8.0}
    canvas.paint(vault, layers, wobble_mm=0.5)
    _paint_brain(canvas, rng, vault)
    _paint_skull_base(canvas, rng)


def _paint_brain(canvas: Canvas, rng: np.random.Generator, vault: Shape) -> None:
    folds = smooth_noise(rng, canvas.grid, 11.0)
    brain = vault.grown(-8.0)
    cells = ("grey_matter", "white_matter")
    canvas.speckle(-np.abs(folds), -0.16, "csf", over=cells, within=brain)
    inner = brain.grown(-12.0)
    canvas.speckle(np.ones_like(folds), 0, "grey_matter", over=("csf",), within=inner)
    deep = brain.grown(-4.0)
    canvas.speckle(folds, -0.1, "white_matter", over=("grey_matter",), within=deep)
    core = brain.grown(-15.0)
    canvas.speckle(np.ones_like(folds), 0, "white_matter", over=("grey_matter",), within=core)
    cleft = half_space((0, 0, 1), -1.2) & half_space((0, 0, -1), -1.2)
    canvas.paint(cleft & brain & above(0, 48), "csf")
    for side in (-1, 1):
        nucleus = ellipsoid((36, 2, side * 20), (14, 20, 11), turn=turned(z_deg=side * -18))
        canvas.paint(nucleus, "grey_matter", over=cells, wobble_mm=1.0)
        size = rng.uniform(4.5, 7.5)
        horn = curve(
            [(50, -34, side * 15), (60, -6, side * 9), (54, 26, side * 17), (34, 44, side * 25),
             (18, 24, side * 32)], 14,
        )  # fmt: skip
        canvas.paint(tube(horn, list(np.linspace(size, 0.6 * size, 14))), "csf", wobble_mm=0.6)
        lobe = ellipsoid((-6, 56, side * 22), (20, 27, 27))
        canvas.paint(lobe & brain.grown(1), "grey_matter")
        canvas.speckle(folds, 0.2, "white_matter", over=("grey_matter",), within=lobe.grown(-4))
    canvas.paint(ellipsoid((36, 4, 0), (14, 13, 2.6)), "csf")
    stem = curve([(24, 12, 0), (2, 14, 0), (-24, 26, 0)], 6)
    canvas.paint(tube(stem, (14, 15, 14, 11, 9, 8)), "white_matter", over=(*cells, "csf"))
    canvas.paint(ellipsoid((-4, 32, 0), (9, 4, 8)), "csf")


def _paint_skull_base(canvas: Canvas, rng: np.random.Generator) -> None:
    cells = smooth_noise(rng, canvas.grid, 7.0)
    clivus = capsule((8, -6, 0), (-14, 12, 0), 7.5)
    canvas.paint(clivus, {"cortical_bone": 0, "marrow": 2.5})
    for side in (-1, 1):
        pyramid = capsule((2, 24, side * 54), (4, 2, side * 17), 10, 6)
        mastoid = ellipsoid((-12, 30, side * 57), (20, 15, 11))
        canvas.paint([pyramid, mastoid], "petrous_bone")
        canvas.speckle(cells, 0.4, "gas", over=("petrous_bone",), within=mastoid.grown(-2.5))
        canvas.paint(ellipsoid((4, 16, side * 40), (4, 4, 6)), "gas", over=("petrous_bone",))
        canvas.paint(capsule((-1, 14, side * 86), (1, 16, side * 46), 3.4), "gas")
        wing = capsule((16, -32, side * 18), (24, -36, side * 60), 4.5)
        canvas.paint(wing, THIN)
    canvas.paint(ellipsoid((8, -22, 0), (14, 16, 19)), THIN)
    sphenoid = [ellipsoid((8, -22, side * 8), (10, 12, 7)) for side in (-1, 1)]
    canvas.paint(sphenoid, "gas")
    size = rng.uniform(0.7, 1.3)
    canvas.paint(
        [ellipsoid((36, -74, side * 12), (13 * size, 5.5, 11 * size)) for side in (-1, 1)], "gas",
        over=("cortical_bone", "diploe", "csf", "grey_matter"),
    )  # fmt: skip
    canvas.paint(ellipsoid((21, -22, 0), (6, 6, 7)), "gland", over=("cortical_bone", "csf"))


def paint_orbits(canvas: Canvas) -> None:
    """Bony rim, fat, globe with lens, nerve and straight muscles, both sides."""
    for side in (-1, 1):
        apex = np.array([14, -32, side * 15])
        rim = np.array([14, -70, side * 34])
        canvas.paint(capsule(apex, rim, 10, 23), THIN, over=(*SOFT, "cortical_bone", "csf"))
        canvas.paint(capsule(apex, rim, 7.5, 20), "visceral_fat")
        canvas.paint(ellipsoid((14, -86, side * 35), (17, 7, 20)), "muscle", over=("visceral_fat",))
        globe = np.array([14, -76, side * 33])
        canvas.paint(ellipsoid(globe, (12.5, 12.5, 12.5)), {"cartilage": 0, "water": 1.2})
        canvas.paint(ellipsoid(globe + np.array([0, -8, 0]), (5, 2.6, 5)), "lens")
        canvas.paint(tube([globe + np.array([0, 11, -side * 2]), apex], 2.4), "white_matter")
        for dz, dx in ((8, 0), (-8, 0), (0, 9), (0, -9)):
            canvas.paint(tube([globe + np.array([dz, 6, dx]), apex], (2.4, 1.6)), "muscle")
