"""The belly: liver, kidneys, spleen, stomach, bowel with gas, lumbar spine. z = 0 at L2 / L3."""

from __future__ import annotations

import numpy as np

from synthct.data.phantom import shapes
from synthct.data.phantom.canvas import Canvas, Lumen, smooth_noise
from synthct.data.phantom.ribcage import Wall, paint_ribs
from synthct.data.phantom.spine import Vertebra, paint_spine, place_vertebrae
from synthct.data.phantom.trees import grow_tree

_TRUNK = (
    (150.0, 0.0, 0.0, 110.0, 160.0),
    (60.0, 0.0, 0.0, 112.0, 164.0),
    (0.0, -2.0, 0.0, 112.0, 162.0),
    (-60.0, -2.0, 0.0, 110.0, 168.0),
    (-150.0, 0.0, 0.0, 114.0, 176.0),
)
_CAGE = (
    (170.0, -5.0, 0.0, 90.0, 136.0),
    (100.0, -8.0, 0.0, 90.0, 136.0),
    (30.0, -10.0, 0.0, 88.0, 132.0),
    (-40.0, -10.0, 0.0, 86.0, 128.0),
)
_SPINE = ((150.0, 50.0), (80.0, 48.0), (0.0, 34.0), (-60.0, 30.0), (-120.0, 46.0), (-160.0, 62.0))
_LEVELS = (
    (131.0, 11.0, 15.0, 17.0, 32.0, 20.0),
    (104.0, 12.0, 16.0, 18.0, 32.0, 20.0),
    (75.0, 12.5, 16.0, 19.0, 34.0, 20.0),
    (44.0, 13.0, 17.0, 21.0, 42.0, 22.0),
    (12.0, 13.5, 17.0, 22.0, 44.0, 23.0),
    (-21.0, 13.5, 17.5, 23.0, 46.0, 23.0),
    (-55.0, 13.5, 17.5, 24.0, 45.0, 22.0),
    (-89.0, 13.5, 17.5, 25.0, 46.0, 18.0),
    (-122.0, 14.0, 17.0, 28.0, 44.0, 12.0),
    (-154.0, 14.0, 15.0, 26.0, 40.0, 8.0),
)
SOFT = ("muscle", "visceral_fat", "fat")


def build(canvas: Canvas, rng: np.random.Generator) -> dict[str, Lumen]:
    """Paint the belly; returns the lumens whose gas changes from day to day."""
    cavity = _paint_wall(canvas, rng)
    _paint_lung_bases(canvas, rng, cavity)
    _paint_bones(canvas, rng)
    _paint_vessels(canvas)
    lumens = _paint_bowel(canvas, rng, cavity)
    _paint_solid_organs(canvas, rng, cavity)
    return lumens | {"stomach": Lumen([_paint_stomach(canvas, cavity)])}


def _paint_wall(canvas: Canvas, rng: np.random.Generator) -> shapes.Shape:
    body = shapes.column(_TRUNK, power=2.3)
    fat_mm = rng.uniform(12, 24)
    canvas.paint(body, {"skin": 0, "fat": 2.5, "muscle": 2.5 + fat_mm}, wobble_mm=1.2)
    septa = smooth_noise(rng, canvas.grid, 26.0)
    canvas.speckle(-np.abs(septa), -0.07, "fat", over=("muscle",))
    inset = fat_mm + 15
    cavity = shapes.column(
        [(z, cy - 12, cx, ry - inset - 6, rx - inset) for z, cy, cx, ry, rx in _TRUNK], power=2.3
    )
    canvas.paint(cavity, "visceral_fat", wobble_mm=1.2)
    for side in (-1, 1):
        gutter = shapes.ellipsoid((20, 38, side * 66), (95, 34, 48), power=2.5)
        canvas.paint(gutter & body.grown(-fat_mm - 12), "visceral_fat")
        psoas = shapes.curve([(60, 46, side * 24), (0, 40, side * 40), (-120, 20, side * 58)], 8)
        canvas.paint(shapes.tube(psoas, (7, 10, 14, 17, 19, 21, 22, 22)), "muscle", over=SOFT)
        square = shapes.column([(-80, 52, side * 72, 16, 26), (70, 56, side * 56, 12, 16)])
        canvas.paint(square & shapes.above(0, -90) & shapes.below(0, 75), "muscle", over=SOFT)
    return cavity


def _paint_lung_bases(canvas: Canvas, rng: np.random.Generator, cavity: shapes.Shape) -> None:
    chest = shapes.column([(z, cy, cx, ry - 7, rx - 7) for z, cy, cx, ry, rx in _CAGE], power=2.2)
    low = shapes.above(0, rng.uniform(66, 76))
    middle = shapes.column([(60, 20, 0, 60, 40), (170, 10, 8, 60, 48)], power=3)
    domes = shapes.ellipsoid((25, -6, -58), (rng.uniform(92, 104), 86, 76), power=2.4).blended(
        shapes.ellipsoid((22, -4, 62), (rng.uniform(84, 96), 82, 70), power=2.4), 30
    )
    lungs = (chest & low) - middle
    canvas.paint(chest & shapes.above(0, 70), "visceral_fat", over=("muscle", "visceral_fat"))
    canvas.paint(lungs, "lung", wobble_mm=0.8)
    for side in (-1, 1):
        for forwards in (-0.5, 0.1, 0.6):
            tree = grow_tree(
                rng, (165, 20, side * 50), (-1, forwards, side * 0.7), radius_mm=3.2,
                length_mm=26, generations=5,
            )  # fmt: skip
            canvas.paint(tree, "blood", over=("lung",))
    under = (domes & chest.grown(2)).boxed(0, 62, 1e4)
    canvas.paint(under, {"muscle": 0, "visceral_fat": 3.5}, wobble_mm=0.8)
    heart = shapes.ellipsoid((165, -30, 20), (50, 45, 60)) - domes
    canvas.paint(heart, {"visceral_fat": 0, "heart_muscle": 3}, over=("lung", *SOFT, "blood"))


def _paint_bones(canvas: Canvas, rng: np.random.Generator) -> None:
    vertebrae = place_vertebrae(_LEVELS, _SPINE, rng)
    paint_ribs(
        canvas,
        Wall(_CAGE),
        [(160.0 - 0, 100.0, 2.3, 110.0), (131.0, 98.0, 2.2, 90.0), (104.0, 66.0, 1.55, None),
         (75.0, 40.0, 1.0, None)],
    )  # fmt: skip
    for side in (-1, 1):
        crest = shapes.curve(
            [(-118, 74, side * 48), (-84, 58, side * 88), (-66, 26, side * 124),
             (-78, -20, side * 142), (-110, -52, side * 136)], 14,
        )  # fmt: skip
        wing = [
            shapes.capsule(point, point + np.array([-70, 6, -side * 26]), 6.5, 9.0)
            for point in crest
        ]
        canvas.paint([*shapes.tube(crest, 8.0), *wing], {"cortical_bone": 0, "marrow": 2.6})
    paint_spine(canvas, vertebrae, cord=False)
    if rng.random() < 0.34:
        _paint_screws(canvas, [one for one in vertebrae if -60 < one.z < -15])


def _paint_screws(canvas: Canvas, vertebrae: list[Vertebra]) -> None:
    for side in (-1, 1):
        heads = []
        for one in vertebrae:
            head = one.canal + np.array([2, 18, side * 20])
            tip = np.array([one.z + 2, one.y - 6, one.x + side * 11])
            canvas.paint(shapes.capsule(head, tip, 2.4), "metal")
            heads.append(head)
        canvas.paint(shapes.tube(heads, 2.6), "metal")


def _paint_vessels(canvas: Canvas) -> None:
    aorta = shapes.curve([(170, 28, 12), (60, 22, 11), (-20, 6, 9), (-68, 4, 4)], 16)
    cava = shapes.curve([(150, 16, -24), (60, 20, -22), (-20, 8, -18), (-76, 8, -8)], 16)
    canvas.paint(shapes.tube(aorta, 10.0), "blood", over=(*SOFT, "lung"))
    canvas.paint(shapes.tube(cava, 11.0), "blood", over=(*SOFT, "lung"))
    for side in (-1, 1):
        iliac = shapes.curve([(-66, 6, 0), (-110, 14, side * 34), (-160, 6, side * 62)], 8)
        canvas.paint(shapes.tube(iliac, 7.0), "blood", over=SOFT)
    mesenteric = shapes.curve([(25, 12, 9), (0, -16, 6), (-50, -26, -10)], 8)
    canvas.paint(shapes.tube(mesenteric, 4.5), "blood", over=SOFT)


def _loops(rng: np.random.Generator) -> list[list[shapes.Shape]]:
    """Small bowel: a few smooth random walks in the lower middle of the belly."""
    found = []
    for _ in range(20):
        centre = np.array([rng.uniform(-105, -15), rng.uniform(-62, -22), rng.uniform(-62, 62)])
        walk = centre + np.cumsum(rng.normal(0, 1, (6, 3)) * [13, 10, 20], axis=0)
        walk = np.clip(walk, [-130, -70, -84], [0, 2, 84])
        found.append(shapes.tube(shapes.curve(walk, 14), float(rng.uniform(10, 13))))
    return found


def _colon(rng: np.random.Generator) -> dict[str, list[shapes.Shape]]:
    sag = rng.uniform(-20, 15)
    right = [(-130, 6, -96), (-60, 2, -102), (5, 0, -98)]
    across = [(5, 0, -98), (10, -40, -78), (sag - 8, -66, -30), (sag, -68, 20), (40, -40, 84)]
    left = [(40, -40, 84), (46, 4, 104), (-20, 18, 106), (-90, 10, 104), (-140, 0, 92)]
    beads = 1 + 0.16 * np.sin(np.arange(26) * 1.9)
    return {
        name: shapes.tube(shapes.curve(line, 26), list(radius * beads))
        for name, line, radius in (
            ("right", right, 24.0),
            ("across", across, 20.0),
            ("left", left, 17.0),
        )
    }


def _paint_bowel(
    canvas: Canvas, rng: np.random.Generator, cavity: shapes.Shape
) -> dict[str, Lumen]:
    inner = cavity.grown(-2)
    lumens: dict[str, Lumen] = {}
    groups = {f"loop{i}": loop for i, loop in enumerate(_loops(rng))} | _colon(rng)
    for name, parts in groups.items():
        inside = [part & inner for part in parts]
        canvas.paint(inside, {"bowel_wall": 0, "bowel_content": 3.0}, over=(
            "visceral_fat", "bowel_wall", "bowel_content", "blood"))  # fmt: skip
        lumens[name] = Lumen([part.grown(-3.0) for part in inside])
    return lumens


def _paint_solid_organs(canvas: Canvas, rng: np.random.Generator, cavity: shapes.Shape) -> None:
    room = cavity.grown(-1)
    swell = rng.uniform(0.93, 1.07)
    liver = shapes.ellipsoid((62, -6, -62), (72 * swell, 78, 66), power=2.3).blended(
        shapes.ellipsoid((78, -42, 14), (34, 34 * swell, 62), turn=shapes.turned(x_deg=8)), 25
    )
    chest = shapes.column([(z, cy, cx, ry - 12, rx - 12) for z, cy, cx, ry, rx in _CAGE], power=2.2)
    over = ("visceral_fat", "bowel_wall", "bowel_content", "muscle")
    canvas.paint(liver & chest, "liver", over=over, wobble_mm=1.5)
    for heading in ((0.8, 0.2, -0.6), (0.1, -0.3, -1), (0.5, -0.8, 0.7), (0.1, 0.7, -0.8)):
        for radius in (5.0, 3.4):
            tree = grow_tree(
                rng, (42, 0, -28), heading, radius_mm=radius, length_mm=27, generations=5
            )
            canvas.paint(tree, "blood", over=("liver",))
    canvas.paint(
        shapes.ellipsoid((14, -46, -52), (27, 16, 17)) & room, {"bowel_wall": 0, "water": 1.8}
    )
    spleen = shapes.ellipsoid((76, 34, 96), (46, 34, 22), turn=shapes.turned(z_deg=24)) & chest
    canvas.paint(spleen, "spleen", over=over, wobble_mm=1.2)
    for side, z in ((-1, 0.0), (1, 14.0)):
        turn = shapes.turned(z_deg=side * 35, y_deg=side * 12)
        centre = np.array([z, 38, side * 64])
        kidney = shapes.ellipsoid(centre, (53 * swell, 24, 29), turn=turn)
        canvas.paint(kidney, {"kidney_cortex": 0, "kidney_medulla": 8}, wobble_mm=0.8)
        hilum = shapes.ellipsoid(centre + np.array([0, -6, -side * 14]), (26, 9, 17), turn=turn)
        canvas.paint(hilum, {"visceral_fat": 0, "water": 5}, wobble_mm=2.0)
        canvas.paint(
            shapes.capsule((10, 12, side * 12), centre + np.array([0, -6, -side * 18]), 5),
            "blood",
            over=SOFT,
        )
        canvas.paint(shapes.ellipsoid((64 + z / 2, 34, side * 44), (12, 8, 5)), "gland", over=SOFT)
    gland = shapes.curve(
        [(2, -16, -36), (26, -14, -22), (34, -22, 8), (42, 4, 44), (52, 18, 70)], 12
    )
    radii = (14, 14, 13, 12, 11, 11, 11, 11, 10, 10, 9, 8)
    canvas.paint(shapes.tube(gland, radii), "pancreas", over=SOFT, wobble_mm=2.0)


def _paint_stomach(canvas: Canvas, cavity: shapes.Shape) -> shapes.Shape:
    pouch = shapes.ellipsoid((72, -12, 62), (46, 38, 34), turn=shapes.turned(x_deg=25)).blended(
        shapes.ellipsoid((28, -48, 22), (22, 24, 42), turn=shapes.turned(x_deg=-20)), 25
    ) & cavity.grown(-1)
    over = ("visceral_fat", "bowel_wall", "bowel_content", "gas")
    canvas.paint(pouch, {"bowel_wall": 0, "bowel_content": 4.5}, over=over, wobble_mm=1.0)
    return pouch.grown(-4.5)
