"""What the report shows and how large it may become."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from synthct.data.section import Section


class ReportParams(Section):
    """What the report shows."""

    title: str = "Synthetic CT: what was made, and how far to trust it"
    """Heading of the page."""
    strips: Annotated[int, Field(ge=0)] = 50
    """Cases shown with pictures, worst first. The others are in the tables only."""
    slices_per_case: Annotated[int, Field(ge=1, le=64)] = 7
    """Axial slices of a case, evenly spaced, including the worst one."""
    registration_cases: Annotated[int, Field(ge=0)] = 50
    """Cases shown before and after registration, least trustworthy first."""
    picture_pixels: Annotated[int, Field(ge=32, le=1024)] = 256
    """Longest side of an embedded picture [pixels]; larger slices are averaged down."""
    picture_quality: Annotated[int, Field(ge=1, le=100)] = 80
    """WebP quality of the embedded pictures. 80 preserves soft tissue to a few HU."""
    studies: tuple[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")], ...] = ()
    """Workspaces of finished studies to show, for example ``[bias, study]``."""
    error_window_hu: Annotated[float, Field(gt=0)] = 200.0
    """Range of the error maps' colours, from minus to plus this value [HU]."""
