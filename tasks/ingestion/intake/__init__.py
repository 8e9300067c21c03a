"""Behind ``synthct ingest``: look at the sources, show the table, take in de-identified copies."""

from __future__ import annotations

from tasks.ingestion.dataset import Licence
from tasks.ingestion.intake.plan import IntakePlan, plan_intake
from tasks.ingestion.intake.rows import IntakeRow
from tasks.ingestion.intake.take import IntakeResult, take_in

__all__ = ["IntakePlan", "IntakeResult", "IntakeRow", "Licence", "plan_intake", "take_in"]
