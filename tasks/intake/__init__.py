"""``synthct ingest``: inspects the sources, plans the intake, and stores de-identified copies."""

from __future__ import annotations

from synthct.tasks.ingestion.dataset import Licence
from synthct.tasks.intake.plan import IntakePlan, plan_intake
from synthct.tasks.intake.rows import IntakeRow
from synthct.tasks.intake.write import IntakeResult, run_intake

__all__ = ["IntakePlan", "IntakeResult", "IntakeRow", "Licence", "plan_intake", "run_intake"]
