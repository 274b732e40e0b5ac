"""The short names of ILTM's settings, as `python -m monai_iltm run` takes them, and the ids that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_iltm.engines.ids import holds, joined, parts

SETTINGS = "settings"  # where a config of rounds holds the values of its stages
STAGES = "stages"  # under it: what one stage alone takes
FIRST = "first"  # under it: what one stage takes in round 0 instead

_VQVAE, _PRIOR = f"{SETTINGS}::{STAGES}::vqvae", f"{SETTINGS}::{STAGES}::prior"

NAMES: dict[str, str] = {
    **{f"image_{name}": f"images::{name}" for name in ("size", "channels")},
    **{name: f"images::{name}" for name in ("intensity_range", "expected_range", "spacing", "resize")},
    **{name: f"images::{name}" for name in ("orientation", "max_read_gib", "spatial_dims")},
    **{name: f"cases::{name}" for name in ("skip_bad", "allow_outside", "label_threshold", "label_ignore")},
    "category": "layout::category",
    "vqvae_widths": f"{SETTINGS}::vqvae::channels",
    "vqvae_residual_layers": f"{SETTINGS}::vqvae::num_res_layers",
    "num_codes": f"{SETTINGS}::vqvae::num_embeddings",
    "code_features": f"{SETTINGS}::vqvae::embedding_dim",
    "head_dropout": f"{SETTINGS}::vqvae::head_dropout",
    "vqvae_epochs": f"{_VQVAE}::train::trainer::max_epochs",
    "vqvae_batch_size": f"{_VQVAE}::train::trainer::batch_size",
    "vqvae_learning_rate": f"{_VQVAE}::optimizer::lr",
    "vqvae_learning_rate_end": f"{_VQVAE}::lr_scheduler::eta_min",
    "spectral_weight": f"{_VQVAE}::loss::spectral_weight",
    "perceptual_loss": f"{_VQVAE}::loss::perceptual",
    "cache_rate": f"{_VQVAE}::train::dataset::cache_rate",
    "vqvae_augment": f"{_VQVAE}::train::dataset::augment",
    **{f"prior_{name}": f"{SETTINGS}::transformer::{name}" for name in ("width", "depth", "heads", "dropout")},
    **{name: f"{SETTINGS}::transformer::{name}" for name in ("order", "groups", "paper_masking")},
    "prior_epochs": f"{_PRIOR}::train::trainer::max_epochs",
    "first_prior_epochs": f"{SETTINGS}::{FIRST}::prior::train::trainer::max_epochs",
    "prior_batch_size": f"{_PRIOR}::train::trainer::batch_size",
    "prior_learning_rate": f"{_PRIOR}::optimizer::lr",
    "prior_adamw_learning_rate": f"{_PRIOR}::optimizer::adamw_lr",
    "prior_weight_decay": f"{_PRIOR}::optimizer::weight_decay",
    "augmented_versions": f"{_PRIOR}::train::dataset::data::versions",
    **{
        f"augment_{name}": f"{SETTINGS}::augmentation::{name}"
        for name in ("rotation", "scale", "shift", "flip_axes", "gain")
    },
    **{f"pool_{name}": f"{SETTINGS}::pooling::{name}" for name in ("mode", "cut")},
    **{name: f"{SETTINGS}::inferer::{name}" for name in ("draws", "decodes", "looks", "levels", "blur", "at_once")},
    **{name: f"{SETTINGS}::inferer::{name}" for name in ("alpha", "threshold", "threshold_times_uniform")},
    **{name: f"{SETTINGS}::inferer::{name}" for name in ("bandwidth_floor", "keep_gib")},
    "max_rounds": "train::trainer::max_epochs",
    **{f"mask_{name}": f"marks::{name}" for name in ("density", "share")},
    **{name: f"rules::{name}" for name in ("flag_decay", "tolerance", "settled_overlap", "warm_start", "false_alarm")},
    "bracket": "train::handlers::2::bracket",
    "tracking": "train::handlers::0::address",
    # of a stage, or of a deployed bundle
    "datalist": "cases::datalist",
    "split": "cases::split",
    "check_data": "cases::check",
    "kinds": "handlers::0::kinds",
    "training_intensities": "images::training_intensities",
}


def full_id(name: str) -> str:
    """The id of a setting of a run; a name that is no short one is an id."""
    return NAMES.get(name, name)


def full_ids(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Values by id, of values by short name or id."""
    return {full_id(name): value for name, value in settings.items()}


def short_name(one: str) -> str:
    """The short name of an id, where it has one, else the id."""
    return next((name for name, other in NAMES.items() if other == one), one)


def new_id(name: str, content: Mapping[str, Any]) -> str | None:
    """What a config calls the setting of a short name; None where it has none of that name.

    A config of rounds holds the settings of its stages; a stage's own holds them without what leads to the stage.
    """
    if name not in NAMES:
        return None
    full, is_of_rounds = NAMES[name], SETTINGS in content
    root, *rest = parts(full)
    if is_of_rounds:
        return full
    if root == SETTINGS:
        full = joined(*(rest[2:] if rest[0] in (STAGES, FIRST) else rest))
    return full if root != "train" and holds(content, full) else None
