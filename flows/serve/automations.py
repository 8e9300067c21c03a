"""Prefect automation that marks a run as crashed when its heartbeats stop."""

from __future__ import annotations

from datetime import timedelta

SILENT = "synthct: a silent run is crashed"
SILENT_S = 90
"""Three heartbeats of 30 s; with the server's polling interval, a run is Crashed within 120 s."""

_ENDED = ("Completed", "Failed", "Cancelled", "Crashed", "Paused", "Suspended")


def ensure_automations(silent_s: int = SILENT_S) -> None:
    """Create or update the automation, and delete duplicates."""
    from prefect import get_client
    from prefect.automations import AutomationCore, ChangeFlowRunState, EventTrigger, Posture
    from prefect.client.schemas.objects import StateType

    wanted = AutomationCore(
        name=SILENT,
        description=f"no heartbeat for {silent_s} s: its process or machine has died",
        enabled=True,
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat"}
            | {f"prefect.flow-run.{state}" for state in _ENDED},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=silent_s),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"no heartbeat for {silent_s} s; the next run resumes where it stopped",
            )
        ],
    )
    with get_client(sync_client=True) as client:
        present = list(client.read_automations_by_name(SILENT))
        for surplus in present[1:]:
            client.delete_automation(surplus.id)
        if present:
            client.update_automation(present[0].id, wanted)
        else:
            client.create_automation(wanted)
