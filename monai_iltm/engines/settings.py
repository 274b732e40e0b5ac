"""What every setting may hold; a word of a command line becomes its value, or is refused in one line."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monai_iltm.data.errors import InputError
from monai_iltm.engines.ids import joined, parts
from monai_iltm.engines.names import full_id, short_name

# Exactly one of each is given.
MASK_RULES = tuple(full_id(name) for name in ("mask_density", "mask_share"))
FLAG_RULES = tuple(full_id(name) for name in ("alpha", "threshold", "threshold_times_uniform"))

YES, NO = ("true", "yes", "on"), ("false", "no", "off")
EXPRESSIONS = ("$", "@", "%")  # how a text begins that MONAI evaluates, refers or reads from a file


@dataclass(frozen=True)
class Kind:
    """What a setting may hold.

    form: in words, as "a number of at least 0"; example: a value as it is written on a command line.
    optional: None is a value too.
    """

    form: str
    example: str
    optional: bool = False

    def fits(self, value: Any) -> bool:
        """Whether a value is of this kind."""
        return True

    def read(self, value: Any) -> Any:
        """The value that a word means, where it means one of this kind."""
        return value


@dataclass(frozen=True)
class Flag(Kind):
    """True or False; on a command line also yes, no, on, off, in any case of letters."""

    form: str = "True or False"
    example: str = "False"

    def fits(self, value: Any) -> bool:
        return isinstance(value, bool)

    def read(self, value: Any) -> Any:
        word = str(value).lower()
        return word in YES if word in YES + NO else value


@dataclass(frozen=True)
class Number(Kind):
    """A finite number from least to most, the ends of the range left out where ``open_ends``."""

    form: str = "a number"
    example: str = "0.5"
    least: float = -math.inf
    most: float = math.inf
    open_ends: bool = False

    def fits(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return False
        return self.least < value < self.most if self.open_ends else self.least <= value <= self.most


@dataclass(frozen=True)
class Whole(Number):
    """A whole number from least to most; 1e3 is one too."""

    form: str = "a whole number of at least 1"
    example: str = "4"
    least: float = 1

    def fits(self, value: Any) -> bool:
        return isinstance(value, int) and super().fits(value)

    def read(self, value: Any) -> Any:
        return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True)
class Several(Kind):
    """A list of ``fewest`` to ``most`` entries of one kind; where ``alone``, an entry without a list counts too."""

    of: Kind = Number()
    fewest: int = 1
    most: float = math.inf
    alone: bool = False

    def fits(self, value: Any) -> bool:
        if not isinstance(value, (list, tuple)):
            return self.alone and self.of.fits(value)
        return self.fewest <= len(value) <= self.most and all(self.of.fits(entry) for entry in value)

    def read(self, value: Any) -> Any:
        return [self.of.read(entry) for entry in value] if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True)
class Range(Kind):
    """Two finite numbers, the lower one first, or one of some words."""

    form: str = "two numbers, the lower one first"
    example: str = "[0,255]"
    words: tuple[str, ...] = ()

    def fits(self, value: Any) -> bool:
        if value in self.words:
            return True
        numbers = Several("", "", of=Number())
        return numbers.fits(value) and len(value) == 2 and value[0] < value[1]


@dataclass(frozen=True)
class Text(Kind):
    """A text, or one of some words."""

    form: str = "a text"
    example: str = "a_name"
    words: tuple[str, ...] = ()

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and (not self.words or value in self.words)


FLAG, COUNT, SOME = Flag(), Whole(), Number("a number of at least 0", "0.5", least=0)
NONE_OR_MORE = Whole("a whole number of at least 0", "0", least=0)
POSITIVE = Number("a positive number", "0.002", least=0, open_ends=True)
GIB = Number("a positive number of GiB", "8", least=0, open_ends=True)
SHARE = Number("a number from 0 to 1", "0.5", least=0, most=1)
INNER_SHARE = Number("a number between 0 and 1", "0.02", least=0, most=1, open_ends=True)
BELOW_ONE = Number("a number of at least 0 and below 1", "0.1", least=0, most=1 - 1e-9)
COUNTS = Several("a list of whole numbers", "[128,128]", of=COUNT)


def _all(kind: Kind, names: str) -> dict[str, Kind]:
    return dict.fromkeys(names.split(), kind)


def _or_none(kind: Kind) -> Kind:
    """The same kind, or None."""
    fields = {**vars(kind), "form": f"{kind.form}, or None", "optional": True}
    return type(kind)(**fields)


# By the last part of an id, or the last two where one word has several meanings.
KINDS: dict[str, Kind] = {
    **_all(FLAG, "skip_bad check resize amp augment paper_masking warm_start bracket side_by_side allow_outside renew"),
    **_all(COUNT, "images::channels num_res_layers num_embeddings embedding_dim max_epochs batch_size width depth"),
    **_all(COUNT, "heads groups draws decodes looks at_once val_interval processes latent"),
    **_all(Whole("a whole number from 0 to 4294967295", "1000", least=0, most=2**32 - 1), "seed"),
    **_all(_or_none(Whole("2 or 3", "2", least=2, most=3)), "spatial_dims"),
    **_all(NONE_OR_MORE, "versions"),
    **_all(COUNTS, "size vqvae::channels"),
    **_all(Several("a list of axes", "[0]", of=NONE_OR_MORE, fewest=0), "flip_axes"),
    **_all(Several("a number of at least 0, or a list of them", "3.0", of=SOME, alone=True), "shift"),
    **_all(Several("a list of positive numbers", "[1.0]", of=POSITIVE), "levels"),
    **_all(_or_none(Several("a list of positive numbers", "[4,4,6]", of=POSITIVE)), "spacing"),
    **_all(POSITIVE, "lr adamw_lr bandwidth_floor"),
    **_all(GIB, "max_read_gib"),
    **_all(_or_none(GIB), "memory_gib"),
    **_all(SOME, "eta_min spectral_weight weight_decay rotation blur keep_gib tolerance kl_weight"),
    **_all(SHARE, "cache_rate settled_overlap"),
    **_all(BELOW_ONE, "head_dropout dropout augmentation::scale augmentation::gain flag_decay"),
    **_all(INNER_SHARE, "false_alarm"),
    **_all(_or_none(INNER_SHARE), "marks::share alpha threshold"),
    **_all(_or_none(POSITIVE), "density threshold_times_uniform"),
    **_all(Number("a number above 0 and at most 1", "0.5", least=1e-9, most=1), "pooling::cut"),
    **_all(_or_none(Number()), "surprise_threshold label_threshold label_ignore"),
    **_all(_or_none(Range()), "expected_range"),
    "intensity_range": Range("two numbers, the lower one first, 'median' or None", "[0,255]", True, ("median",)),
    "order": Text("'any' or 'raster'", "any", words=("any", "raster")),
    "pooling::mode": Text("'area' or 'max'", "area", words=("area", "max")),
    "method": Text("the name of a bundle", "dense_vae"),
    **_all(_or_none(Text()), "category address"),
    **_all(Text("a path", "./a_folder"), "dataset_dir output_dir bundle_root weights vqvae_weights stage_name"),
    **_all(_or_none(Text("a path", "./a_file")), "datalist start_weights token_store"),
    "orientation": _or_none(Text("three letters of R, L, A, P, S, I", "RAS")),
}


def kind_of(name: str) -> Kind | None:
    """What the setting of an id, or of a short name, may hold; None where that is not known."""
    names = parts(full_id(name))
    return KINDS.get(joined(*names[-2:])) or KINDS.get(names[-1])


def kind_like(value: Any) -> Kind:
    """The kind of a number or a list of numbers: what may stand in the place of a default."""
    if isinstance(value, (list, tuple)):
        form, example, size = f"a list of {len(value)} numbers", str(list(value)).replace(" ", ""), len(value)
        return Several(form, example, of=kind_like(value[0]), fewest=size, most=size)
    if isinstance(value, int):
        return Whole("a whole number", str(value), least=-math.inf)
    return Number("a number", str(value))


def read_word(name: str, word: str, kind: Kind | None = None) -> Any:
    """The value that a word of a command line gives a setting; texts that MONAI evaluates stay as they are.

    kind: of a value that is no setting of a run. Raises InputError where it is not of the setting's kind.
    """
    kind = kind or kind_of(name) or Kind("", "")
    if word.startswith(EXPRESSIONS):
        return word
    if kind.optional and word.lower() in ("none", "null"):
        return None
    if isinstance(kind, Text):
        value: Any = word.strip("'\"") if kind.words else word
    else:
        value = kind.read(_literal(word))
    require(name, value, word, kind)
    return value


def require(name: str, value: Any, written: Any = None, kind: Kind | None = None) -> None:
    """Raise InputError, with a value that would do, where a setting's value is not of its kind."""
    kind = kind or kind_of(name)
    if kind is None or (value is None and kind.optional) or _is_expression(value) or kind.fits(value):
        return
    shown = value if written is None else written
    raise InputError(f"{name} is {kind.form}, found {shown!r}: write it as in --{name} {kind.example}")


def require_all(values: Mapping[str, Any]) -> None:
    """`require` for every value by its id, told by its short name where it has one."""
    for one in sorted(values):
        require(short_name(one), values[one], kind=kind_of(one))


def _is_expression(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(EXPRESSIONS)


def _literal(word: str) -> Any:
    """A Python literal's value; another word is a text. Comments are none: "#2" ends no word."""
    try:
        return word if "#" in word else ast.literal_eval(word.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return word
