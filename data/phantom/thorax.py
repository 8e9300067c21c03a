"""The chest, arms raised: lungs, heart and great vessels, ribs, liver dome. z = 0 at the carina."""

from __future__ import annotations

import numpy as np

from synthct.data.phantom import shapes
from synthct.data.phantom.canvas import Canvas, Lumen, smooth_noise
from synthct.data.phantom.ribcage import Wall, paint_ribs, paint_sternum
from synthct.data.phantom.spine import BONE, paint_spine, place_vertebrae
from synthct.data.phantom.trees import grow_tree

_CAGE = (
    (140.0, -2.0, 0.0, 30.0, 40.0),
    (105.0, -4.0, 0.0, 50.0, 74.0),
    (70.0, -4.0, 0.0, 70.0, 103.0),
    (20.0, -4.0, 0.0, 86.0, 124.0),
    (-50.0, -4.0, 0.0, 94.0, 138.0),
    (-120.0, -4.0, 0.0, 92.0, 142.0),
    (-170.0, -4.0, 0.0, 88.0, 138.0),
)
_TRUNK = (
    (120.0, 2.0, 0.0, 92.0, 150.0),
    (90.0, 2.0, 0.0, 104.0, 166.0),
    (40.0, 2.0, 0.0, 111.0, 170.0),
    (-40.0, 2.0, 0.0, 116.0, 167.0),
    (-120.0, 0.0, 0.0, 116.0, 164.0),
    (-170.0, 0.0, 0.0, 114.0, 165.0),
)
_SPINE = ((140.0, 22.0), (70.0, 42.0), (10.0, 52.0), (-60.0, 52.0), (-160.0, 40.0))
SOFT = ("muscle", "visceral_fat", "fat")


def build(canvas: Canvas, rng: np.random.Generator) -> dict[str, Lumen]:
    """Paint the chest; returns the lumens whose gas changes from day to day."""
    fat_mm = rng.uniform(9, 17)
    _paint_trunk(canvas, rng, fat_mm)
    cavity = _inset(_CAGE, 7.0)
    canvas.paint(cavity & shapes.below(0, 122), "visceral_fat", wobble_mm=0.8)
    _paint_lungs(canvas, rng, cavity)
    stomach = _paint_under_diaphragm(canvas, rng, cavity)
    _paint_heart(canvas, rng)
    _paint_airways(canvas, rng)
    _paint_bones(canvas, rng)
    return {"stomach": Lumen([stomach])}


def _inset(knots: tuple[tuple[float, float, float, float, float], ...], mm: float) -> shapes.Shape:
    return shapes.column([(z, cy, cx, ry - mm, rx - mm) for z, cy, cx, ry, rx in knots], power=2.2)


def _paint_trunk(canvas: Canvas, rng: np.random.Generator, fat_mm: float) -> None:
    trunk = shapes.column(_TRUNK, power=2.4) & shapes.below(0, 122)
    neck = shapes.column([(100, 8, 0, 62, 62), (160, 4, 0, 60, 58)]) & shapes.above(0, 90)
    whole = trunk.blended(neck, 40)
    for side in (-1, 1):
        arm = shapes.tube(
            [(98, 10, side * 132), (125, 6, side * 146), (190, 0, side * 150)], (42, 40, 38)
        )
        for part in arm:
            whole = whole.blended(part, 25)
    layers = {"skin": 0, "fat": 2.5, "muscle": 2.5 + fat_mm}
    for part in (trunk.boxed(0, -1e4, 45), whole.boxed(0, 45, 1e4)):
        canvas.paint(part, layers, wobble_mm=1.2)
    if rng.random() < 0.5:
        _paint_breasts(canvas, rng)
    septa = smooth_noise(rng, canvas.grid, 26.0)
    canvas.speckle(-np.abs(septa), -0.07, "fat", over=("muscle",))


def _paint_breasts(canvas: Canvas, rng: np.random.Generator) -> None:
    size = rng.uniform(0.85, 1.15)
    gland = smooth_noise(rng, canvas.grid, 16.0)
    for side in (-1, 1):
        breast = shapes.ellipsoid(
            (-22, -88, side * 82),
            (56 * size, 34 * size, 54 * size),
            turn=shapes.turned(z_deg=side * 18),
        )
        canvas.paint(breast, {"skin": 0, "fat": 2.5}, over=("outside_air", "skin", "fat"))
        canvas.speckle(gland, 0.7, "gland", over=("fat",), within=breast.grown(-10))


def _paint_lungs(canvas: Canvas, rng: np.random.Generator, cavity: shapes.Shape) -> None:
    middle = shapes.column(
        [(120, 5, 0, 60, 30), (60, 5, 2, 90, 30), (0, 5, 4, 90, 34), (-150, 5, 10, 90, 42)],
        power=3,
    )
    recess = shapes.above(0, -128)
    for side in (-1, 1):
        half = shapes.above(2, 4) if side > 0 else shapes.below(2, 4)
        lung = ((cavity & half & shapes.below(0, 112)) - middle) & recess
        canvas.paint(lung, "lung", wobble_mm=0.8)
        for root in ((8, 14), (-8, 8), (-2, 20)):
            hilum = (root[0], root[1], side * 26 + 6)
            for towards in ((0.9, -0.2), (0.2, -0.9), (-0.8, 0.5), (-0.5, -0.5), (0.3, 0.8)):
                heading = (towards[0], towards[1], side * 0.9)
                tree = grow_tree(
                    rng, hilum, heading, radius_mm=rng.uniform(3.0, 4.4), length_mm=27,
                    generations=6,
                )  # fmt: skip
                canvas.paint(tree, "blood", over=("lung",))


def _paint_under_diaphragm(
    canvas: Canvas, rng: np.random.Generator, cavity: shapes.Shape
) -> shapes.Shape:
    right = shapes.ellipsoid((-152, -4, -66), (rng.uniform(86, 98), 84, 76), power=2.2)
    left = shapes.ellipsoid((-158, 0, 66), (rng.uniform(76, 88), 82, 74), power=2.2)
    domes = (right.blended(left, 30)) & cavity.grown(1)
    canvas.paint(domes, {"muscle": 0, "visceral_fat": 3.5}, wobble_mm=0.8)
    inner = domes.grown(-4)
    liver = shapes.ellipsoid((-158, -8, -62), (92, 86, 84), power=2.2).blended(
        shapes.ellipsoid((-138, -42, 18), (36, 42, 58)), 20
    )
    canvas.paint(liver & inner, "liver")
    for heading in ((-1, 0.2, -0.4), (-0.4, -0.2, -1), (-0.4, -0.7, 0.5), (-0.5, 0.8, -0.5)):
        tree = grow_tree(rng, (-105, 10, -25), heading, radius_mm=4.5, length_mm=26, generations=5)
        canvas.paint(tree, "blood", over=("liver",))
    canvas.paint(shapes.ellipsoid((-135, 45, 92), (34, 32, 24)) & inner, "spleen", wobble_mm=0.8)
    stomach = shapes.ellipsoid((-128, -8, 68), (40, 36, 38), turn=shapes.turned(x_deg=20)) & inner
    canvas.paint(stomach, {"bowel_wall": 0, "bowel_content": 4}, wobble_mm=0.8)
    return stomach.grown(-4)


def _paint_heart(canvas: Canvas, rng: np.random.Generator) -> None:
    turn = shapes.turned(z_deg=rng.uniform(-38, -26), y_deg=rng.uniform(18, 28))
    sac = shapes.ellipsoid((-48, -28, 22), (58, 46, 66), turn=turn, power=2.2)
    canvas.paint(sac, "visceral_fat", over=("lung", "blood", *SOFT))
    muscle = sac.grown(-4)
    canvas.paint(muscle, "heart_muscle", over=("visceral_fat",), wobble_mm=1.0)
    chambers = [
        shapes.ellipsoid((-60, -28, 52), (34, 18, 20), turn=turn),
        shapes.ellipsoid((-55, -48, 8), (34, 17, 24), turn=turn),
        shapes.ellipsoid((-28, 2, 22), (24, 16, 26), turn=turn),
        shapes.ellipsoid((-40, -22, -22), (30, 20, 16), turn=turn),
    ]
    canvas.paint([one & muscle for one in chambers], "blood", wobble_mm=1.2)
    arch = shapes.curve(
        [(-25, -22, 2), (20, -26, -10), (48, -16, -6), (60, 6, 6), (48, 28, 18), (10, 36, 22),
         (-70, 34, 20), (-165, 26, 8)], 30,
    )  # fmt: skip
    cava = shapes.curve([(115, -6, -26), (50, -14, -27), (-15, -16, -28)], 8)
    trunk = shapes.curve([(-20, -42, 14), (6, -34, 16), (16, -8, 8), (6, 10, -32)], 10)
    left_artery = shapes.curve([(14, -16, 12), (14, 6, 26), (2, 14, 40)], 6)
    lower = shapes.curve([(-40, -5, -24), (-100, 8, -24), (-165, 12, -22)], 6)
    heads = [
        shapes.curve([(58, s - 6, x), (110, s, 2.2 * x)], 5) for s, x in ((0, -8), (6, 4), (12, 12))
    ]
    for line, radius in ((arch, 13.0), (cava, 9.0), (trunk, 12.0), (left_artery, 9.5), (lower, 11)):
        canvas.paint(shapes.tube(line, radius), "blood")
    for line in heads:
        canvas.paint(shapes.tube(line, 5.0), "blood", over=SOFT)


def _paint_airways(canvas: Canvas, rng: np.random.Generator) -> None:
    gullet = shapes.curve(
        [(170, 24, -2), (60, 30, -2), (0, 30, 0), (-90, 24, 10), (-130, 8, 30)], 24
    )
    canvas.paint(shapes.tube(gullet, 8.0), {"bowel_wall": 0, "gas": 5.5}, over=SOFT)
    windpipe = shapes.curve([(170, 2, 0), (80, 8, 0), (8, 20, 0)], 12)
    canvas.paint(shapes.tube(windpipe, 10.5), {"cartilage": 0, "airway": 2.5})
    for side in (-1, 1):
        bronchus = shapes.curve([(8, 20, 0), (-8, 20, side * 22), (-18, 20, side * 42)], 6)
        canvas.paint(shapes.tube(bronchus, 8.5), {"cartilage": 0, "airway": 2.2})
        for heading in ((0.7, -0.3, side), (-0.8, 0.3, side * 0.6), (-0.3, -0.8, side)):
            tree = grow_tree(
                rng, (-14, 20, side * 36), heading, radius_mm=5.0, length_mm=24, generations=4
            )
            canvas.paint(tree, {"cartilage": 0, "airway": 1.6}, over=("lung", "blood", *SOFT))


def _paint_bones(canvas: Canvas, rng: np.random.Generator) -> None:
    wall = Wall(_CAGE)
    levels = [
        (133.0 - 23 * k, 8.5 + 0.2 * k, 10 + 0.4 * k, 13 + 0.5 * k, 32.0, 20.0) for k in range(14)
    ]
    vertebrae = place_vertebrae(levels, _SPINE, rng)
    ribs: list[tuple[float, float, float, float | None]]
    ribs = [(110.0 - 23 * k, 26.0 + 9 * k, 2.15 + 0.02 * k, 78.0 - 17 * k) for k in range(7)]
    ribs += [(-51.0 - 23 * k, 92.0, 2.05 - 0.1 * k, -45.0 - 10 * k) for k in range(3)]
    ribs += [(-120.0, 70.0, 1.6, None), (-143.0, 50.0, 1.2, None)]
    paint_ribs(canvas, wall, ribs)
    paint_sternum(canvas, wall, 78.0, -52.0)
    paint_spine(canvas, vertebrae)
    for side in (-1, 1):
        blade = shapes.ellipsoid(
            (52, 72, side * 104), (62, 5.5, 38), turn=shapes.turned(z_deg=-side * 32), power=2.5
        )
        spur = shapes.tube([(82, 84, side * 78), (100, 72, side * 118), (112, 42, side * 142)], 6.5)
        collar = shapes.tube(
            shapes.curve([(82, -52, side * 18), (96, -56, side * 60), (110, -6, side * 132)], 8),
            6.5,
        )
        humerus = [shapes.ellipsoid((112, 12, side * 146), (23, 22, 22))]
        humerus += [shapes.capsule((112, 12, side * 146), (200, 2, side * 150), 12)]
        canvas.paint([blade, *spur, *collar], BONE)
        canvas.paint(humerus, {"cortical_bone": 0, "marrow": 3.0})
