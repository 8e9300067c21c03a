"""The report stage: reads every output, draws the pictures on the workers, writes one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from synthct.data.errors import MachineError
from synthct.data.files import write_whole
from synthct.tasks.figures.page import render
from synthct.tasks.pipeline.artefacts import (
    CT,
    DISPLACEMENT,
    MASK,
    PAGE,
    SCT,
    SOURCE,
    UNREGISTERED_CT,
)
from synthct.tasks.pipeline.events import emit
from synthct.tasks.pipeline.stage import StageContext, build_out
from synthct.tasks.report.overlays import OverlayTask, draw_overlays
from synthct.tasks.report.params import ReportParams
from synthct.tasks.report.reading import Chain, read_chain
from synthct.tasks.report.strips import StripTask, draw_strip, worst_first
from synthct.tasks.report.views.bias import bias
from synthct.tasks.report.views.cohort import cohort
from synthct.tasks.report.views.evaluation import evaluation
from synthct.tasks.report.views.headline import headline
from synthct.tasks.report.views.pretraining import pretraining
from synthct.tasks.report.views.provenance import provenance
from synthct.tasks.report.views.registration import least_trusted_first, registration
from synthct.tasks.report.views.release import exclusions, release
from synthct.tasks.report.views.scores import case_errors
from synthct.tasks.report.views.study import study
from synthct.tasks.report.views.training import training
from synthct.tasks.report.views.trust import trust

STAGE = "report"

_STRIP = (SOURCE, CT, MASK)
_OVERLAY = (*_STRIP, UNREGISTERED_CT, DISPLACEMENT)


class _Order(Protocol):
    @property
    def case(self) -> str: ...


O = TypeVar("O", bound=_Order)  # noqa: E741 - a type variable
R = TypeVar("R")


def run(context: StageContext, params: ReportParams) -> None:
    """The tables, pictures and hashes of all stages were gathered into one offline page."""
    chain = read_chain(context.layout, params.studies)
    with build_out(context, STAGE) as out:
        overlays = _drawn(context, draw_overlays, _overlay_orders(chain, params))
        strips = _drawn(context, draw_strip, _strip_orders(chain, params))
        page = render(
            title=params.title,
            headline=headline(chain),
            cohort=cohort(chain),
            registration=registration(chain, overlays),
            pretraining=pretraining(chain),
            training=training(chain),
            evaluation=evaluation(chain, strips),
            trust=trust(chain),
            biases=[bias(each) for each in chain.studies if each.matrix],
            studies=[study(each) for each in chain.studies if each.effects],
            exclusions=exclusions(chain),
            release=release(chain),
            provenance=provenance(chain, context.layout, context.methods),
            error_window_hu=params.error_window_hu,
        )
        write_whole(out / PAGE, page)
        emit("note", stage=STAGE, text=f"{PAGE}: {len(page) / 1e6:.1f} MB")


def _overlay_orders(chain: Chain, params: ReportParams) -> list[OverlayTask]:
    if not chain.has("registration"):
        return []
    folder = chain.folders["registration"].absolute()
    able = [c for c in least_trusted_first(chain) if _all_there(folder / c, _OVERLAY)]
    return [
        OverlayTask(case, str(folder / case), params.picture_pixels, params.picture_quality)
        for case in able[: params.registration_cases]
    ]


def _strip_orders(chain: Chain, params: ReportParams) -> list[StripTask]:
    if not (chain.has("registration") and chain.has("evaluation")):
        return []
    fixed = chain.folders["registration"].absolute()
    scored = chain.folders["evaluation"].absolute()
    able = [
        case
        for case in worst_first(list(case_errors(chain).items()))
        if _all_there(fixed / case, _STRIP) and _all_there(scored / case, (SCT,))
    ]
    return [
        StripTask(
            case=case,
            registration=str(fixed / case),
            evaluation=str(scored / case),
            slices=params.slices_per_case,
            pixels=params.picture_pixels,
            quality=params.picture_quality,
            error_window_hu=params.error_window_hu,
        )
        for case in able[: params.strips]
    ]


def _all_there(folder: Path, names: Sequence[str]) -> bool:
    return all((folder / name).is_dir() for name in names)


def _drawn(context: StageContext, draw: Callable[[O], R], orders: Sequence[O]) -> dict[str, R]:
    """The pictures of every order by case, in the order of ``orders``."""
    found: dict[str, R] = {}
    emit("units_planned", stage=STAGE, total=len(orders), reused=0)
    for order, outcome in context.fan_out(draw, orders, label=_label):
        if outcome.error is not None:
            raise _as_machine_error(order.case, outcome.error)
        found[order.case] = outcome.result()
        emit("unit_done", stage=STAGE, unit=order.case, done=len(found), total=len(orders))
    return {order.case: found[order.case] for order in orders}


def _label(order: Any) -> str:
    return f"{STAGE}/{order.case}"


def _as_machine_error(case: str, error: Exception) -> Exception:
    if isinstance(error, MachineError):
        return error
    return MachineError(
        f"the pictures of the case cannot be drawn: {type(error).__name__}: {error}",
        where=f"{STAGE}/{case}",
        remedy="run the earlier stages again; their outputs may be inconsistent",
        code="picture-failed",
    )
