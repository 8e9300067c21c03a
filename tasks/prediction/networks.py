"""The networks of a release, run on one prepared scan."""

from __future__ import annotations

from collections.abc import Sequence

from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.sliding import Prediction, Progress, Runner, predict
from synthct.tasks.models.windows import plan_windows
from synthct.tasks.prediction.memory import POOL_BYTES, choose_batch
from synthct.tasks.prediction.options import PredictOptions
from synthct.tasks.prediction.pool import predict_pool
from synthct.tasks.prediction.prepare import Prepared


def run_networks(
    runners: Sequence[Runner],
    prepared: Prepared,
    model: ModelDescription,
    options: PredictOptions,
    cap: int,
    *,
    uncertainty: bool,
    progress: Progress | None = None,
) -> Prediction:
    """The mean of all networks, or of the surest ones, on the model's grid [HU].

    Parameters
    ----------
    cap
        Memory limit of the process [bytes].
    uncertainty
        Also compute the standard deviation over networks and flips [HU].
    """
    batch = options.batch
    if batch is None:
        shape, still = _need(prepared, model, options, sd=uncertainty, members=len(runners))
        batch = choose_batch(runners[0], shape, cap, still)
    if options.surest is not None:
        chosen = predict_pool(
            runners, prepared.source, prepared.mask, model, keep=options.surest,
            overlap=options.overlap, batch=batch, wanted=prepared.wanted, progress=progress,
        )  # fmt: skip
        return Prediction(chosen.hu, chosen.sd_hu if uncertainty else None)
    return predict(
        runners,
        prepared.source,
        prepared.mask,
        model,
        tta=options.tta,
        overlap=options.overlap,
        batch=batch,
        uncertainty=uncertainty,
        wanted=prepared.wanted,
        progress=progress,
    )


def _need(
    prepared: Prepared, model: ModelDescription, options: PredictOptions, *, sd: bool, members: int
) -> tuple[tuple[int, ...], int]:
    """Shape of a window as the network's input, and memory of the results meanwhile [bytes]."""
    windows = plan_windows(prepared.source.grid.shape, model, options.overlap)
    sizes = tuple(axis.size for axis in windows.axes)
    shape = (model.slices, *sizes[1:]) if windows.flat else (1, *sizes)
    still = prepared.source.array.size * (6 if sd else 2)
    still += prepared.body.array.size * (4 if sd else 2)
    still += 0 if options.surest is None else prepared.source.array.size * POOL_BYTES * members
    return shape, still
