"""What a person sees of a run: `write_report` makes report.html, `status` a short text of how far a run is."""

from __future__ import annotations

from monai_iltm.report.page import write_report
from monai_iltm.report.progress import status

__all__ = ["status", "write_report"]
