"""Nose, sinuses, jaws, teeth (some with metal fillings), tongue and the masticatory muscles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synthct.data.phantom.canvas import Canvas, smooth_noise
from synthct.data.phantom.shapes import Shape, ellipsoid, tube, turned
from synthct.data.phantom.shapes import curve as smooth_curve

SOFT = ("muscle", "visceral_fat", "fat")
THIN = {"cortical_bone": 0.0}
JAW = {"cortical_bone": 0.0, "marrow": 2.4}


def face_surface() -> Shape:
    """Skin of the face from the brows to the chin, nose included."""
    face = ellipsoid((-8, -40, 0), (66, 56, 62), power=2.4)
    chin = ellipsoid((-50, -66, 0), (22, 28, 32))
    nose = ellipsoid((-2, -96, 0), (18, 18, 12)).blended(ellipsoid((-8, -108, 0), (9, 10, 12)), 8)
    return face.blended(chin, 18).blended(nose, 8)


def paint_face(canvas: Canvas, rng: np.random.Generator) -> None:
    """Everything between the skull base and the neck."""
    _paint_chewing_muscles(canvas)
    _paint_midface(canvas, rng)
    _paint_tongue(canvas)
    _paint_jaws(canvas)
    _paint_teeth(canvas, rng)


def _paint_chewing_muscles(canvas: Canvas) -> None:
    soft = (*SOFT, "gland")
    for side in (-1, 1):
        canvas.paint(ellipsoid((-26, 4, side * 60), (24, 16, 11)), "gland", over=SOFT, wobble_mm=1)
        masseter = ellipsoid((-24, -20, side * 56), (30, 19, 8.5), turn=turned(x_deg=-12))
        temporalis = ellipsoid((28, -18, side * 67), (40, 34, 6.5), turn=turned(z_deg=side * 12))
        pterygoid = ellipsoid((-14, -16, side * 33), (22, 16, 8), turn=turned(z_deg=side * 14))
        canvas.paint([masseter, temporalis, pterygoid], "muscle", over=soft)
        canvas.paint(ellipsoid((-12, -44, side * 47), (17, 13, 9)), "fat", over=soft)


def _paint_midface(canvas: Canvas, rng: np.random.Generator) -> None:
    cells = smooth_noise(rng, canvas.grid, 9.0)
    block = ellipsoid((4, -62, 0), (24, 28, 20), power=3)
    canvas.paint(block, THIN)
    canvas.paint(ellipsoid((2, -64, 0), (22, 38, 15), power=3), "airway")
    canvas.paint(ellipsoid((0, -102, 0), (9, 9, 7)), "airway")
    for side in (-1, 1):
        swell = rng.uniform(0.85, 1.1)
        sinus = ellipsoid((-2, -56, side * 30), (19 * swell, 18, 14), power=2.6)
        canvas.paint(
            sinus.grown(2.2), THIN, over=(*SOFT, "visceral_fat", "cortical_bone", "airway")
        )
        canvas.paint(sinus, "gas")
        cheek = smooth_curve(
            [(0, -66, side * 44), (0, -48, side * 58), (1, -20, side * 66), (2, 4, side * 60)], 10
        )
        canvas.paint(tube(cheek, (8, 7, 6, 5, 4.5, 4, 4, 4, 4.5, 5)), JAW)
        for z, reach in ((-6, 9.5), (4, 8.5)):
            turbinate = ellipsoid((z, -60, side * reach), (4.4, 24, 3.6))
            canvas.paint(turbinate, "muscle", over=("airway",))
        ethmoid = ellipsoid((17, -52, side * 7), (10, 22, 7))
        canvas.paint(ethmoid, THIN, over=(*SOFT, "airway", "visceral_fat"))
        canvas.speckle(cells, -0.35, "gas", over=("cortical_bone",), within=ethmoid)
    canvas.paint(ellipsoid((2, -62, rng.normal(0, 1.2)), (22, 34, 1.3), power=4), "cartilage")
    canvas.paint(tube([(22, -84, 0), (8, -98, 0)], (6, 3.5)), THIN)


def _paint_tongue(canvas: Canvas) -> None:
    floor = ellipsoid((-46, -36, 0), (14, 34, 30))
    tongue = ellipsoid((-31, -40, 0), (17, 33, 23))
    canvas.paint([floor, tongue], "muscle", over=(*SOFT, "visceral_fat"))
    canvas.paint(ellipsoid((-40, -40, 0), (10, 20, 1.6)), "fat", over=("muscle",))
    for side in (-1, 1):
        canvas.paint(ellipsoid((-56, -20, side * 30), (10, 16, 9)), "gland", over=SOFT, wobble_mm=1)


def mouth() -> Shape:
    """The gap over the tongue; how much air it holds changes from day to day."""
    return ellipsoid((-18, -42, 0), (6, 34, 23))


def arch(z: float, wide: float, long: float, count: int) -> NDArray[np.float64]:
    """``count`` points of a dental arch: a half ellipse open to the back (z, y, x)."""
    angles = np.linspace(-0.5 * np.pi, 0.5 * np.pi, count) * 0.97
    return np.stack(
        [np.full(count, z), -34 - long * np.cos(angles) ** 0.8, wide * np.sin(angles)], axis=1
    )


def _paint_jaws(canvas: Canvas) -> None:
    canvas.paint(ellipsoid((-11.5, -54, 0), (2.6, 30, 24), power=3), THIN)
    canvas.paint(tube(arch(-14, 28, 46, 18), 6.0), JAW)
    body = arch(-49, 37, 48, 20)
    canvas.paint([*tube(body, 7.5), *tube(arch(-42, 32, 46, 18), 6.0)], JAW)
    for side in (-1, 1):
        ramus = smooth_curve(
            [(-48, -34, side * 37), (-40, -8, side * 46), (-18, -6, side * 49), (2, 4, side * 51)],
            9,
        )
        coronoid = smooth_curve([(-36, -24, side * 43), (-2, -26, side * 49)], 4)
        canvas.paint([*tube(ramus, (8, 9, 9, 8, 7, 6.5, 6, 5.5, 6.5)), *tube(coronoid, 5)], JAW)


def _paint_teeth(canvas: Canvas, rng: np.random.Generator) -> None:
    filled = rng.random() < 0.5
    for crown_z, root, wide, long in ((-22.0, 1, 27.5, 46.0), (-33.0, -1, 27.0, 43.5)):
        for number, place in enumerate(arch(crown_z, wide, long, 14)):
            molar = abs(number - 6.5) > 3.5
            if rng.random() < 0.06:
                continue
            size = (5.0, 4.4, 4.4) if molar else (5.5, 3.0, 3.3)
            apex = place + np.array([root * 10, 0, 0])
            canvas.paint(tube([place, apex], (3.6 if molar else 2.8, 1.6)), "dentine")
            canvas.paint(ellipsoid(place, size, power=3), {"enamel": 0, "dentine": 1.6})
            if filled and molar and rng.random() < 0.4:
                canvas.paint(ellipsoid(place - [root * 3, 0, 0], (2.6, 2.6, 2.6)), "metal")
