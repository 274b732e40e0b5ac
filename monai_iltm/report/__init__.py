"""What a person sees of a run: `write_report` makes report.html, `status` a short text of how far a run is."""

from __future__ import annotations

from pathlib import Path

from monai_iltm.report.progress import status

__all__ = ["status", "write_report"]


def write_report(run_folder: str | Path) -> Path:
    """Write report.html into a run folder, finished or not, and return its path.

    The page holds no absolute path, no server address and no header field of an image; cases appear by id.
    Raises InputError where the folder is no run folder. Reads at most 120 test cases and 40 training masks.
    """
    from monai_iltm.report.page import write_page  # what draws is slow to import, and `status` answers at once

    return write_page(run_folder)
