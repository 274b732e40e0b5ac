from __future__ import annotations

import pytest

from monai_iltm.engines.rounds import RoundEvents
from ignite.engine import Events

pytestmark = pytest.mark.slow

def test_events_fire_in_order(iltm, phantom):
    workflow, seen = iltm(phantom), []
    for event in (*RoundEvents, Events.EPOCH_STARTED, Events.EPOCH_COMPLETED):
        workflow.add_event_handler(event, lambda engine, name=event.name: seen.append((engine.state.epoch, name)))
    workflow.run()
    print(seen, workflow.state.output)
    assert 0
