"""Run the code of ``docs/how-to/register.md`` and make the pictures of registration.

    python docs/make_registration.py

The picture of real scans needs them (``$SYNTHCT_SHARED_DATA``).
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PAGE = ROOT / "docs" / "how-to" / "register.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run_page(**changes: Any) -> dict[str, Any]:
    """Run the page's blocks one after another; ``changes`` overrule its capital names."""
    names: dict[str, Any] = {}
    for number, block in enumerate(BLOCK.findall(PAGE.read_text())):
        for name, value in changes.items():
            block = re.sub(rf"^{name} = .*$", f"{name} = {value!r}", block, flags=re.MULTILINE)
        block = block.replace("PosixPath(", "Path(")
        exec(compile(block, f"{PAGE.name} block {number}", "exec"), names)
    return names


def sts_png(folder: Path) -> bytes:
    """The CT's bone on the MR of STS_001, as delivered and after stock elastix' rigid step."""
    import numpy as np
    import SimpleITK as sitk
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from synthct.data.itk import resample
    from synthct.data.readers import read_scan
    from synthct.tasks.ingestion.body import body_mask
    from synthct.tasks.ingestion.params import BodyParams
    from synthct.tasks.registration.align import align
    from synthct.tasks.registration.methods import METHODS
    from synthct.tasks.registration.picture import png
    from synthct.tasks.registration.preset import BSplineStep
    from synthct.tasks.registration.presets import preset_called
    from synthct.tasks.registration.scan_pair import ScanPair

    mr, ct = read_scan(folder / "MR_T1_dicom"), read_scan(folder / "CT_dicom")
    pair = ScanPair(mr, ct, *(body_mask(scan, BodyParams(), "other") for scan in (mr, ct)))
    preset = preset_called("mr_AB")
    short = BSplineStep(bending_weight=50.0, iterations=(1, 1, 1))  # only the rigid step is shown
    steps = align(
        pair, mr.grid, replace(preset, bspline=short), METHODS.build("elastix_mi", {}), seed=0,
        tell=lambda step: None,
    )  # fmt: skip
    figure = Figure(figsize=(11, 5.2), facecolor="white")
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", h_pad=0.02, w_pad=0.02)
    slices = (22, 32, 40, 46)
    axes = figure.subplots(2, len(slices))
    top = float(np.percentile(mr.array, 99))
    for row, (name, found) in enumerate(
        (("as delivered", sitk.Euler3DTransform()), ("after our rigid step", steps.rigid))
    ):
        bone = resample(ct, mr.grid, transform=found, outside=-1024).array
        for panel, z in zip(axes[row], slices, strict=True):
            panel.imshow(mr.array[z], cmap="gray", vmax=top)
            panel.contour(bone[z], [200.0], colors="#e5484d", linewidths=1.2)
            panel.set(xticks=[], yticks=[])
        axes[row][0].set_ylabel(name)
    return png(figure)


def make_sts_picture() -> None:
    """The picture of real scans, where they are."""
    scans = Path(os.environ.get("SYNTHCT_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if (scans / "sts_mr_ct").is_dir():
        picture = sts_png(scans / "sts_mr_ct" / "STS_001")
        (ROOT / "docs/pictures/registration_sts_001.png").write_bytes(picture)


def main() -> int:
    """All of the page."""
    os.chdir(ROOT)
    run_page()
    make_sts_picture()
    return 0


if __name__ == "__main__":
    sys.exit(main())
