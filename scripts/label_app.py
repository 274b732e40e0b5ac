"""MONAI Label's app for bundles, with this package's plain words in its answers: what a bundle refuses is told.

scripts/label.py copies it as main.py beside the original, which it calls bundle_app.
"""

from __future__ import annotations

import logging
from typing import Any

import bundle_app
from fastapi import HTTPException
from monailabel.interfaces.app import MONAILabelApp

from monai_iltm.engines.telling import plain_line

logger = logging.getLogger(__name__)


class MyApp(bundle_app.MyApp, MONAILabelApp):  # MONAI Label takes the first class with this base named
    """An image that a bundle refuses is answered by status 422 with the reason; a batch goes on with the next one."""

    def infer(self, request: dict[str, Any], datastore: Any = None) -> Any:
        """As the original's, but for what is refused: HTTPException 422."""
        try:
            return super().infer(request, datastore)
        except Exception as error:
            line = plain_line(error)
            if line is None:
                raise
            logger.error(line)
            raise HTTPException(status_code=422, detail=line) from error

    def batch_infer(self, request: dict[str, Any], datastore: Any = None) -> dict[str, Any]:
        """As the original's, but one image that is refused does not end it."""
        return self._batch_infer(request, datastore or self.datastore(), self._infer_or_tell)

    def _infer_or_tell(self, request: dict[str, Any], datastore: Any = None) -> dict[str, Any]:
        try:
            return self.infer(request, datastore)
        except HTTPException as error:
            return {"label": None, "params": {"error": error.detail}}
