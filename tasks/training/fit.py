"""Trains one network on one fold: the unit function of the training stage."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor

from synthct.data.environment import TENSORBOARD
from synthct.data.files import canonical_json, write_whole
from synthct.data.tables import write_table
from synthct.tasks.models.contracts import Network
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.networks.residual import KNOTS, ResidualModule
from synthct.tasks.pipeline.artefacts import HISTORY, MODEL, WEIGHTS
from synthct.tasks.pipeline.events import emit
from synthct.tasks.pipeline.randomness import derive_seed
from synthct.tasks.training.cases import ARRAYS, Case, open_case, with_law
from synthct.tasks.training.chunks import ChunkCache, Spill
from synthct.tasks.training.interpolation import best_between, layer_rises, outstanding
from synthct.tasks.training.loop import Loop, Watcher, strength_column
from synthct.tasks.training.params import Source, TrainingParams
from synthct.tasks.training.patches import PatchSampler, PatchShape
from synthct.tasks.training.plugins import build_composition, build_network
from synthct.tasks.training.precision import chosen_device, precision_of, settled
from synthct.tasks.training.response import RandomResponse
from synthct.tasks.training.shrinkage import fit_shares
from synthct.tasks.training.team import Team, on, present
from synthct.tasks.training.validation import Validation


class FitArguments(TypedDict):
    """Arguments of :func:`fit` that are plain JSON."""

    source: Source
    fold: int
    seed: int
    params: Mapping[str, Any]
    split: Mapping[str, Any]
    regions: Mapping[str, str]
    weights: NotRequired[Mapping[str, float]]
    interpolate: NotRequired[bool]


def fit(
    *,
    out: Path,
    scratch: Path,
    source: Source,
    fold: int,
    seed: int,
    params: Mapping[str, Any],
    split: Mapping[str, Any],
    regions: Mapping[str, str],
    weights: Mapping[str, float] | None = None,
    start: Path | None = None,
    interpolate: bool = False,
    **files: Path,
) -> None:
    """Train, and write ``weights.safetensors``, ``model.json`` and ``history.csv`` into ``out``.

    ``remarks.json`` is also written if the run deviated from the params. A run that is killed and
    started again with the same ``scratch`` ends with the same bytes (CPU, same number of threads).
    In a team of processes the first one writes.

    Parameters
    ----------
    params
        ``TrainingParams`` as JSON.
    split
        ``{"train", "validation", "test": [case...], "held_out": "patients" | "slab"}``.
    regions
        Region by case.
    weights
        Relative frequency with which a training case is drawn, where it is not 1.
    start
        Initial weights; they are kept if no later ones validate better.
    interpolate
        Also validate weights between ``start`` and the trained ones.
    files
        ``CASE/source``, ``CASE/ct`` and ``CASE/mask``: stored volumes of training and
        validation cases.
    """
    team = present()
    recipe = settled(TrainingParams.from_json(params).of_source(source))
    names = sorted({*split["train"], *split["validation"]})
    stored = {name: {kind: files[f"{name}/{kind}"] for kind in ARRAYS} for name in names}
    scaling = with_law(
        recipe.recipe(source).source_scaling, (stored[name] for name in split["train"])
    )
    cases = {name: open_case(name, regions[name], stored[name], scaling) for name in names}
    network = build_network(recipe)
    description = _describe(recipe, source, fold, network, split, cases).model_copy(
        update={"source_scaling": scaling}
    )
    train, held = _parts(cases, split, recipe.validation_fraction, network.slices)
    with torch.random.fork_rng(devices=[]):
        loop = _loop(
            recipe, description, seed, network, train, held, scratch, weights or {}, start, team
        )
        loop.run()
    if not team.leads:
        return
    if interpolate and start is not None:
        _interpolate(loop, load_file(start))
    if isinstance(loop.judged, ResidualModule):
        _shrink(loop, loop.judged)
    if loop.progress.remarks:
        write_whole(out / "remarks.json", canonical_json(loop.progress.remarks))
    write_whole(out / WEIGHTS, _weights(loop))
    strengths = [strength_column(label) for label in loop.composition.learned]
    columns = ["step", "objective", *loop.composition.labels, *strengths]
    columns += ["learning_rate", "validation_mae_hu"]
    write_table(out / HISTORY, columns, loop.progress.history)
    found = {
        "validation_mae_hu": round(loop.progress.best_mae_hu, 3),
        "learned_strengths": {
            label: float(f"{loop.composition.strengths[label]:.4g}")
            for label in loop.composition.learned
        },
    }
    description.model_copy(update=found).save(out / MODEL)


def _loop(
    params: TrainingParams,
    description: ModelDescription,
    seed: int,
    network: Network,
    train: Sequence[Case],
    held: Sequence[Case],
    scratch: Path,
    weights: Mapping[str, float],
    start: Path | None,
    team: Team,
) -> Loop:
    unit = f"{description.source}_fold{description.fold}"
    torch.manual_seed(derive_seed(seed, "training", unit, "weights"))
    spill = Spill(scratch, int(params.max_scratch_gb * 1e9))
    cache = ChunkCache(int(params.max_ram_gb * 1e9), spill)
    sampler = PatchSampler(
        cases=train,
        cache=cache,
        shape=PatchShape(description.patch_size, description.slices),
        scaling=description.target_scaling,
        size=params.batch,
        seed=derive_seed(seed, "training", unit),
        stream="patches",
        flips=params.flips,
        weights=weights,
        response=_response(params, description.source),
    )
    model = network.build()
    if start is not None:
        model.load_state_dict(load_file(start))
    return Loop(
        unit=unit,
        params=params,
        model=model,
        composition=build_composition(params),
        sampler=sampler,
        held_back=replace(sampler, cases=held, stream="validation", flips=(), response=None),
        validation=Validation(held, cache, description, params.validation_slices),
        seed=derive_seed(seed, "training", unit),
        device=chosen_device(params.device, "training.device"),
        scratch=scratch,
        watch=_tensorboard(unit) if team.leads else [],
        team=team,
        judge_first=start is not None,
    )


def _interpolate(loop: Loop, joint: Mapping[str, Tensor]) -> None:
    """Keep weights between the joint and the tuned ones where these validate better."""
    model = copy.deepcopy(loop.judged)
    tuned = loop.best if loop.progress.best_step else model.state_dict()
    tuned = {name: tensor.detach().clone() for name, tensor in tuned.items()}
    device = loop.device
    batch = on(loop.held_back.batch(0), device)

    def on_batch() -> Tensor:
        error = (loop.forward(model, batch.source) - batch.target).abs() * batch.mask
        return error.sum() / batch.mask.sum().clamp(min=1)

    def validated(weights: Mapping[str, Tensor]) -> float:
        model.load_state_dict(weights)
        return loop.validation.mae_hu(model, loop.forward)

    model.load_state_dict(tuned)
    model.eval()
    stragglers = outstanding(layer_rises(model, on_batch, loop.seed))
    there = {name: tensor.to(device) for name, tensor in joint.items()}
    weights, mae_hu, text = best_between(there, tuned, stragglers, validated)
    if mae_hu < loop.progress.best_mae_hu:
        loop.progress.best_mae_hu = mae_hu
        loop.best = dict(weights)
        emit("note", stage="training", text=f"{loop.unit}: keeps {text}")


def _shrink(loop: Loop, model: ResidualModule) -> None:
    """Fit the shares of the corrections to the held-back cases, at the best weights."""
    model.load_state_dict(loop.best)

    def parts() -> Iterator[tuple[NDArray[np.float32], ...]]:
        gain, shift = np.float32(model.options.gain), np.float32(model.options.shift)
        for source, answer, target in loop.validation.answers(model, loop.forward):
            calibrated = gain * source + shift
            yield calibrated, answer - calibrated, target

    shares = fit_shares(KNOTS, parts())
    model.share.copy_(torch.from_numpy(np.ascontiguousarray(shares)))
    mae_hu = loop.validation.mae_hu(model, loop.forward)
    if mae_hu < loop.progress.best_mae_hu:
        loop.progress.best_mae_hu = mae_hu
        loop.best["share"] = model.share.clone()


def _parts(
    cases: Mapping[str, Case], split: Mapping[str, Any], fraction: float, slices: int
) -> tuple[list[Case], list[Case]]:
    """Training and validation cases; with ``slab`` the same ones, split along z."""
    train = [cases[name] for name in split["train"]]
    if split["held_out"] == "patients":
        return train, [cases[name] for name in split["validation"]]
    cut = [_cut(case, fraction, slices // 2) for case in train]
    return [lower for lower, _ in cut], [upper for _, upper in cut]


def _cut(case: Case, fraction: float, context: int) -> tuple[Case, Case]:
    """Lower and upper part: no slice of training, or of its context, is in the upper slab."""
    bodied = np.flatnonzero(case.body.any(axis=1))
    first = int(bodied[min(bodied.size - 1, int(bodied.size * (1 - fraction)))])
    lower, upper = case.body.copy(), case.body.copy()
    lower[max(1, first - context) :] = 0
    upper[:first] = 0
    return replace(case, body=lower), replace(case, body=upper)


def _weights(loop: Loop) -> bytes:
    return save({name: tensor.contiguous().cpu() for name, tensor in sorted(loop.best.items())})


def _describe(
    params: TrainingParams,
    source: Source,
    fold: int,
    network: Network,
    split: Mapping[str, Any],
    cases: Mapping[str, Case],
) -> ModelDescription:
    """Description of the network; the validation error is added at the end."""
    recipe = params.recipe(source)
    return ModelDescription(
        source=source,
        fold=fold,
        network=params.network.as_json(),
        dimensions=network.dimensions,
        slices=network.slices,
        patch_size=recipe.patch_size,
        divisor=network.divisor,
        spacing_mm=next(iter(cases.values())).spacing_mm,
        source_scaling=recipe.source_scaling,
        target_scaling=params.target_scaling,
        flips=params.flips,
        precision=precision_of(params),
        regularizers=[entry.as_json() for entry in params.regularizers],
        regions=sorted({cases[name].region for name in split["train"]}),
        train_cases=list(split["train"]),
        validation_cases=list(split["validation"]),
        test_cases=list(split["test"]),
    )


def _response(params: TrainingParams, source: str) -> RandomResponse | None:
    spread = params.cbct.response_spread if source == "cbct" else 0.0
    return RandomResponse(spread) if spread else None


def _tensorboard(unit: str) -> list[Watcher]:
    """A watcher that writes TensorBoard events to ``$SYNTHCT_TENSORBOARD/UNIT``; none if unset."""
    folder = os.environ.get(TENSORBOARD)
    if not folder:
        return []
    from torch.utils.tensorboard.writer import SummaryWriter

    writer = SummaryWriter(str(Path(folder) / unit))  # type: ignore[no-untyped-call]

    def write(step: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)  # type: ignore[no-untyped-call]
        writer.flush()  # type: ignore[no-untyped-call]

    return [write]
