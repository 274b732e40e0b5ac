"""The report, anew after every round."""

from __future__ import annotations

import ignite.distributed as idist
from ignite.engine import Engine, Events

from monai_iltm.report import write_report
from monai_iltm.store import RunFolder


class RunReport:
    """Writes report.html on rank 0 whenever a round is finished, and on demand."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda _: self.write())

    def write(self) -> None:
        """The report of what is there."""
        if idist.get_rank() == 0:
            write_report(self.run.path)
