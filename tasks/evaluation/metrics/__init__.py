"""Image metrics, one file each, selectable in ``params.yaml`` by name.

Code that metrics share (``windows``) is in this folder too, because DVC hashes the folder.
"""

from __future__ import annotations

from synthct.data.registry import Registry
from synthct.tasks.evaluation.pair import Metric

METRICS: Registry[Metric] = Registry(
    "metric", group="synthct.metrics", package="synthct.tasks.evaluation.metrics"
)
