"""Head and neck as one region: the outline, the neck's muscles, vessels, airway and spine."""

from __future__ import annotations

import numpy as np

from synthct.data.phantom.canvas import Canvas, Lumen, smooth_noise
from synthct.data.phantom.face import face_surface, mouth, paint_face
from synthct.data.phantom.head import paint_cranium, paint_orbits, scalp
from synthct.data.phantom.shapes import below, column, curve, ellipsoid, tube
from synthct.data.phantom.spine import paint_spine, place_vertebrae

_SPINE = ((-8.0, 22.0), (-30.0, 22.0), (-66.0, 18.0), (-100.0, 24.0), (-160.0, 44.0))
_LEVELS = (
    (-14.0, 5.0, 7.0, 20.0, 38.0, 4.0),
    (-33.0, 8.0, 8.0, 10.0, 27.0, 16.0),
    (-51.0, 6.8, 8.0, 10.5, 27.0, 16.0),
    (-68.5, 6.8, 8.2, 11.0, 27.0, 17.0),
    (-86.0, 7.0, 8.5, 11.5, 28.0, 20.0),
    (-104.0, 7.2, 8.7, 12.0, 29.0, 24.0),
    (-122.5, 7.6, 9.0, 13.0, 32.0, 30.0),
    (-142.0, 8.0, 9.5, 14.0, 36.0, 30.0),
    (-162.0, 8.5, 10.0, 14.0, 36.0, 28.0),
)
SOFT = ("muscle", "visceral_fat", "fat", "gland")


def build(canvas: Canvas, rng: np.random.Generator) -> dict[str, Lumen]:
    """Paint head and neck; returns the lumens whose air changes from day to day."""
    _paint_outline(canvas, rng)
    _paint_neck_muscles(canvas, rng)
    paint_face(canvas, rng)
    paint_cranium(canvas, rng)
    paint_orbits(canvas)
    vertebrae = place_vertebrae(_LEVELS, _SPINE, rng)
    paint_spine(canvas, vertebrae)
    dens = tube([(-33, 20, 0), (-10, 17, 0)], (5.5, 4.5))
    canvas.paint(dens, {"cortical_bone": 0, "marrow": 2})
    _paint_throat(canvas)
    _paint_vessels(canvas)
    return {"mouth": Lumen([mouth()], over=("muscle", "visceral_fat", "fat"))}


def _paint_outline(canvas: Canvas, rng: np.random.Generator) -> None:
    neck = column(
        [(-30, 26, 0, 62, 62), (-75, 22, 0, 58, 58), (-105, 24, 0, 62, 66),
         (-125, 26, 0, 70, 100), (-150, 26, 0, 78, 150)], power=2.2,
    ) & below(0, 0)  # fmt: skip
    body = scalp().blended(face_surface(), 14).blended(neck, 22)
    canvas.paint(body, {"skin": 0, "fat": 2.4, "visceral_fat": rng.uniform(5, 8)}, wobble_mm=0.6)
    for side in (-1, 1):
        ear = ellipsoid((6, 22, side * 82), (28, 15, 5))
        canvas.paint(ear, {"skin": 0, "cartilage": 2.2}, over=("outside_air",), wobble_mm=1.0)
    muscle = smooth_noise(rng, canvas.grid, 13.0)
    canvas.speckle(muscle, 0.0, "muscle", over=("visceral_fat",))


def _paint_neck_muscles(canvas: Canvas, rng: np.random.Generator) -> None:
    for side in (-1, 1):
        strap = curve(
            [
                (-14, 36, side * 62),
                (-55, 18, side * 52),
                (-95, -14, side * 34),
                (-130, -24, side * 18),
            ],
            10,
        )
        canvas.paint(tube(strap, 10.5), "muscle", over=SOFT)
        canvas.paint(tube(strap + np.array([0, 5, side * 3]), 9.5), "muscle", over=SOFT)
        deep = column([(0, 58, side * 20, 24, 19), (-150, 66, side * 22, 26, 21)], power=2.5)
        outer = column([(-10, 74, side * 16, 10, 15), (-100, 74, side * 40, 12, 34),
                        (-150, 80, side * 70, 12, 60)])  # fmt: skip
        levator = column([(-20, 42, side * 40, 12, 9), (-150, 52, side * 52, 18, 15)])
        longus = column([(-20, 8, side * 8, 5, 7), (-150, 26, side * 12, 6, 8)])
        scalene = column([(-60, 22, side * 32, 10, 8), (-150, 24, side * 42, 16, 14)])
        trunk = [part & below(0, -8) for part in (deep, outer, levator, longus)]
        canvas.paint([*trunk, scalene & below(0, -60)], "muscle", over=SOFT, wobble_mm=1.0)
    septa = smooth_noise(rng, canvas.grid, 18.0)
    canvas.speckle(-np.abs(septa), -0.06, "fat", over=("muscle",))


def _paint_throat(canvas: Canvas) -> None:
    wall = curve([(4, -24, 0), (-16, 0, 0), (-45, 0, 0), (-70, -8, 0)], 12)
    canvas.paint(tube(wall, 12.0), "muscle", over=(*SOFT, "cortical_bone"))
    canvas.paint(tube(wall, list(np.linspace(9.5, 6.5, 12))), "airway")
    larynx = curve([(-68, -10, 0), (-90, -14, 0), (-108, -10, 0), (-165, 2, 0)], 12)
    canvas.paint(tube(larynx, 11.5), {"cartilage": 0, "airway": 3.0})
    hyoid = curve(
        [(-66, -2, -20), (-66, -22, -10), (-66, -27, 0), (-66, -22, 10), (-66, -2, 20)], 12
    )
    canvas.paint(tube(hyoid, 3.0), "cortical_bone")
    for side in (-1, 1):
        plate = ellipsoid((-82, -20, side * 11), (14, 14, 3), power=3)
        canvas.paint(plate, "cartilage", over=SOFT)
        lobe = ellipsoid((-108, -6, side * 18), (20, 10, 8))
        canvas.paint(lobe, "thyroid", over=SOFT, wobble_mm=0.8)
    canvas.paint(ellipsoid((-113, -22, 0), (6, 4, 14)), "thyroid", over=SOFT)
    gullet = curve([(-100, 8, 0), (-165, 18, 4)], 5)
    canvas.paint(tube(gullet, 7.0), {"bowel_wall": 0, "bowel_content": 5.0}, over=SOFT)


def _paint_vessels(canvas: Canvas) -> None:
    for side in (-1, 1):
        carotid = curve(
            [(0, 6, side * 26), (-50, 4, side * 27), (-100, 2, side * 25), (-165, 8, side * 18)], 12
        )
        jugular = curve(
            [(-4, 14, side * 31), (-60, 8, side * 37), (-110, 0, side * 35), (-165, -4, side * 26)],
            12,
        )
        vertebral = curve([(-18, 26, side * 24), (-100, 22, side * 18), (-160, 24, side * 20)], 10)
        canvas.paint(tube(carotid, 4.5), "blood", over=SOFT)
        canvas.paint(tube(jugular, 6.0), "blood", over=SOFT)
        canvas.paint(tube(vertebral, 2.2), "blood", over=(*SOFT, "cortical_bone", "marrow"))
