"""A body mask that came with the scans, taken in place of the computed outline when it is sane."""

from __future__ import annotations

import numpy as np

from synthct.data.volume import Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity

GIVEN = Code("given-mask", Severity.NOTE, "the body mask that came with the scan is used")
NOT_BODY = Code(
    "given-mask-unfit",
    Severity.NOTE,
    "the mask that came with the scan is no outline of its body: the computed outline is used",
    "look at the mask",
)

LEAST_INSIDE = 0.6
"""Of a body mask at least this part is body: published masks are dilated by a few mm."""

LEAST_OF_BODY = 0.3
"""It holds at least this part of the body: one cut to a CBCT's cylinder does, a tumour does not."""

MOST_OF_BOX = 0.99
"""A mask that fills more of the box outlines nothing, unless the computed one does too."""


def chosen(computed: Volume, given: Volume | None) -> tuple[Volume, list[Finding]]:
    """The mask to go on with, on the scan's grid, and what is to be said of the given one."""
    if given is None:
        return computed, []
    if not given.grid.is_close(computed.grid, tolerance_mm=0.1):
        return computed, [NOT_BODY.found("the given mask lies on another grid than the scan")]
    body, mask = computed.array > 0, given.array > 0
    both, in_body, in_mask = (int(np.count_nonzero(one)) for one in (body & mask, body, mask))
    agreed = f"Dice with the computed outline {2 * both / max(in_body + in_mask, 1):.3f}"
    fills = in_mask > MOST_OF_BOX * mask.size >= in_body
    if fills or both < LEAST_INSIDE * in_mask or both < LEAST_OF_BODY * in_body or not in_mask:
        return computed, [NOT_BODY.found(f"the given mask is no outline of the body: {agreed}")]
    outline = computed.with_array(mask.astype(np.uint8))
    return outline, [GIVEN.found(f"the given body mask is used; {agreed}")]
