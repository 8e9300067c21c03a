"""Run by the Python of .venv-peers: ConvexAdam on two arrays of one grid, with its own defaults.

    .venv-peers/bin/python benchmarks/_convex_adam.py FOLDER

reads ``fixed.npy`` and ``moving.npy``, writes ``displacement.npy`` [voxels] and prints wall and CPU
seconds without imports. It imports nothing of the project, which is not installed there.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from convexAdam.convex_adam_MIND import convex_adam_pt

folder = Path(sys.argv[1])
torch.set_num_threads(1)
images = [torch.from_numpy(np.load(folder / f"{name}.npy")) for name in ("fixed", "moving")]
begun = time.perf_counter(), time.process_time()
found = convex_adam_pt(*images, dtype=torch.float32, device=torch.device("cpu"))
print(time.perf_counter() - begun[0], time.process_time() - begun[1])
np.save(folder / "displacement.npy", found)
