"""Image metrics, one file each: a new one is selectable in ``params.yaml`` by its name.

What metrics share (``windows``) lies here too, so that DVC, which hashes the folder, sees it.
"""

from __future__ import annotations

from synthct.data.registry import Registry
from synthct.tasks.evaluation.pair import Metric

METRICS: Registry[Metric] = Registry(
    "metric", group="synthct.metrics", package="synthct.tasks.evaluation.metrics"
)
