"""Speed: the transpose of the cone-beam projector."""

from __future__ import annotations

import json

from benchmarks._speed import BUILDS, answer, build_before, processor, result, this_build

_SCRIPT = """
import hashlib, json, time
import torch
try:
    from synthct.data.tomography.cone_beam import back_project, covering, forward_project
except ModuleNotFoundError:  # its name in the earlier build
    from synthct.data.phantom.cone_beam import back_project, covering, forward_project
from synthct.data.phantom.patient import centred_grid
torch.set_num_threads(1)
n = 96
grid = centred_grid((n, n, n), (2.0, 2.0, 2.0))
beam = covering(2, diameter_mm=1.4 * n, height_mm=1.4 * n, pixel_mm=2.0)
values = torch.randn(1, *beam.sinogram_shape, generator=torch.Generator().manual_seed(0))
volume = torch.randn(1, *grid.shape, generator=torch.Generator().manual_seed(1))
results = {}
for name, call in (("forward", lambda: forward_project(volume, grid, beam)),
                   ("adjoint", lambda: back_project(values, grid, beam))):
    spent = []
    for _ in range(4):
        began_s = time.process_time()
        found = call()
        spent.append(time.process_time() - began_s)
    results[name] = 1000 * min(spent) / 2
    results[name + " result"] = hashlib.sha256(found.numpy().tobytes()).hexdigest()
print(json.dumps(results))
"""


WORK = {"forward": "forward projection", "adjoint": "transpose"}


def measure() -> str:
    """Processor time of a view of 96 cubed voxels, before and now, with equal bytes."""
    with build_before() as before, this_build() as now:
        old, new = (json.loads(answer(_SCRIPT, build)) for build in (before, now))
    rows = [
        f"| {WORK[name]} | {old[name]:.0f} | {new[name]:.0f} | {new[name] / old[name]:.2f} | "
        f"{'yes' if old[f'{name} result'] == new[f'{name} result'] else 'NO'} |"
        for name in WORK
    ]
    return "\n".join(
        [
            processor(),
            "",
            f"A volume of 96 x 96 x 96 voxels, two views, planes 2 mm apart. {BUILDS}",
            "",
            "| operation, per view | before [ms] | now [ms] | ratio | same bytes |",
            "|---|---|---|---|---|",
            *rows,
            "",
            result(new["forward"] / old["forward"], "forward projection of a view", "before"),
            "",
            result(new["adjoint"] / old["adjoint"], "transpose of a view", "before"),
            "",
            "## Where the time went",
            "",
            "Before, the transpose first sampled a volume of zeros, to give autograd a graph to "
            "differentiate. Now the backward pass of the sampler is called directly; it takes "
            "nearly all of the remaining time.",
        ]
    )
