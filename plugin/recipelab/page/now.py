"""What is going on in a campaign right now, as the page shows it."""

from __future__ import annotations

from typing import Any

from recipelab.campaign.reader import CampaignReader
from recipelab.lineage import TrialState


def now_data(reader: CampaignReader) -> dict[str, Any]:
    """Return what runs, what waits and who has the floor."""
    record, alive = reader.record, reader.is_running
    flying = reader.store.in_flight_briefs(reader.name)
    leases = {lease.trial: lease.slot for lease in reader.store.leases(reader.name)}
    running = [
        {
            "trial": phase.trial, "phase": phase.phase, "seed": phase.seed,
            "slot": leases.get(phase.trial), "began": phase.began, "budget": phase.budget,
            "beside": phase.beside, "look": None, "log": list(phase.log),
        }
        for phase in reader.running_phases()
    ]  # fmt: skip
    return {
        "state": record.state,
        "since": record.created_at if record.ended_at is None else record.ended_at,
        "paused": reader.is_paused,
        "driver_alive": alive,
        "floor": [],
        "passes": [],
        "queued": [brief.number for brief in flying if brief.state is TrialState.QUEUED],
        "running": running,
        "confirming": None,
        "next_stop": "",
        "warnings": [],
        "slots": {"busy": len({lease for lease in leases.values()}), "total": None},
    }
