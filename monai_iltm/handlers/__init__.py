"""Ignite handlers: what happens between the steps."""

from monai_iltm.handlers.codebook import CodebookDecay, CodebookUse, StartOverCollapsed
from monai_iltm.handlers.epochs import EpochHistory, EpochSeed, StageProgress
from monai_iltm.handlers.finite import RequireFinite
from monai_iltm.handlers.fit import FitNetwork
from monai_iltm.handlers.report import RunReport
from monai_iltm.handlers.results import CaseProgress, SaveResults
from monai_iltm.handlers.resume import ResumableTraining
from monai_iltm.handlers.tracking import MLflowRounds
from monai_iltm.handlers.training import TrainingHandlers

__all__ = [
    "CaseProgress",
    "CodebookDecay",
    "CodebookUse",
    "EpochHistory",
    "EpochSeed",
    "FitNetwork",
    "MLflowRounds",
    "RequireFinite",
    "ResumableTraining",
    "RunReport",
    "SaveResults",
    "StageProgress",
    "StartOverCollapsed",
    "TrainingHandlers",
]
