from __future__ import annotations

from ignite.engine import Engine, Events

from monai_iltm.data.documents import write_json
from monai_iltm.handlers import RunReport
from monai_iltm.store import RunFolder


def test_a_report_after_every_round(tmp_path):
    write_json(tmp_path / "run.json", {"settings": {}, "seed": 0})
    run, engine, seen = RunFolder(tmp_path), Engine(lambda *_: None), []
    RunReport(run).attach(engine)

    @engine.on(Events.EPOCH_COMPLETED)
    def look() -> None:
        seen.append(run.report.is_file())
        run.report.unlink(missing_ok=True)

    engine.run([None], max_epochs=2)
    assert seen == [True, True]
