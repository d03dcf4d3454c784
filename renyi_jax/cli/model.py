"""The flags of the commands that take a model, its weights and its pruning.

What the flags do not say is taken from the notes in the file of weights, where it has any.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags, logging

from renyi_jax.errors import UserError
from renyi_jax.models import Loaded, load
from renyi_jax.models.notes import pruning_fields
from renyi_jax.models.registry import DTYPES
from renyi_jax.pruning import MERGE, PruningConfig

# The flags belong to the commands that import this file, so that their --help lists them.
flags.disclaim_key_flags()


def define_image_size() -> flags.FlagHolder:
    """The flag --image_size, whose value `image_size` reads."""
    return flags.DEFINE_list(
        "image_size",
        None,
        "Side, or height,width, in pixels, to which the positional embedding is resized; that of"
        " the weights by default.",
    )


def define_state() -> flags.FlagHolder:
    """The flag --state, which `load_weights` takes."""
    return flags.DEFINE_string(
        "state",
        None,
        "Which weights of a training checkpoint that holds several, such as state_dict_ema; their"
        " moving average by default.",
    )


def image_size(sides: Sequence[str] | None) -> tuple[int, int] | None:
    """(height, width) from what --image_size was given."""
    if sides is None:
        return None
    numbers = [int(side) for side in sides if re.fullmatch(r"\s*[0-9]{1,5}\s*", side)]
    if len(numbers) != len(sides) or len(numbers) not in (1, 2):
        raise UserError(f"--image_size={','.join(sides)}: expected a side, or height,width.")
    return numbers[0], numbers[-1]


def define_model(required: bool = True) -> Callable[[], Loaded]:
    """Defines the flags, and returns what loads the model that they describe.

    Args:
        required: whether the command cannot do without; otherwise loading complains.
    """
    defaults = PruningConfig()
    name = flags.DEFINE_string("model", None, "Name of the model; that noted in the weights.")
    weights = flags.DEFINE_string(
        "weights",
        None,
        "A file of weights, a workdir of renyi_jax.main, hf_hub:timm/NAME, or embedded:NAME.",
        required=required,
    )
    state = define_state()
    size = define_image_size()
    dtype = flags.DEFINE_enum("dtype", "float32", list(DTYPES), "Of the computation.")

    def text(field: str) -> str:
        value = getattr(defaults, field)
        value = ",".join(map(str, value)) if isinstance(value, tuple) else value
        return f" As noted in the weights by default, or else {value}."

    several = " One for all pruned blocks, or one for each."
    fields = {
        "criterion": flags.DEFINE_list(
            "criterion", None, "How patches are scored." + several + text("criterion")
        ),
        "alpha": flags.DEFINE_list(
            "alpha", None, "Order of the entropy, up to inf." + several + text("alpha")
        ),
        "keep_rate": flags.DEFINE_list(
            "keep_rate",
            None,
            "Share of the patches that is kept; 1 is the model without pruning."
            + several
            + text("keep_rate"),
        ),
        "keep_mass": flags.DEFINE_list(
            "keep_mass",
            None,
            "Adaptive keep counts: share of the mass of the entropy that an image keeps, in no more"
            " patches than --keep_rate allows." + several + text("keep_mass"),
        ),
        "r": flags.DEFINE_list(
            "r", None, "Patches that reducer merge merges away, in place of --keep_rate." + several
        ),
        "blocks": flags.DEFINE_list("blocks", None, "Pruned, counted from 1." + text("blocks")),
        "reducer": flags.DEFINE_string(
            "reducer", None, "What becomes of the patches that are not kept." + text("reducer")
        ),
    }

    def load_model() -> Loaded:
        if not weights.value:
            raise UserError("--weights is needed, for a model to look at pictures.")
        given = {field: flag.value for field, flag in fields.items() if flag.value is not None}
        loaded = load(
            weights.value,
            model=name.value,
            image_size=image_size(size.value),
            dtype=dtype.value,
            state=state.value,
        )
        pruning = _pruning(loaded.model.pruning, given, weights.value)
        return loaded._replace(model=loaded.model.with_pruning(pruning))

    return load_model


def _pruning(
    noted: PruningConfig | None, given: dict[str, Any], source: str
) -> PruningConfig | None:
    """What the flags say, and for the rest what the file notes, or the default."""
    base = noted or PruningConfig()
    changes: dict[str, Any] = {}
    for field, texts in given.items():
        if field == "reducer":
            changes[field] = texts
        elif field == "blocks":
            changes[field] = tuple(numbers(field, texts, int))
        else:
            kind = int if field == "r" else float
            values = list(texts) if field == "criterion" else numbers(field, texts, kind)
            changes[field] = values[0] if len(values) == 1 else tuple(values)
    rates = changes.get("keep_rate", ())
    all_rates = rates if isinstance(rates, tuple) else (rates,)
    if rates and all(rate == 1 for rate in all_rates) and "keep_mass" not in given:
        return None
    if noted is not None:
        told = {name: value for name, value in pruning_fields(base).items() if name not in given}
        logging.info("As %s notes, it is pruned with %s.", source, _words(told))
    reducer = changes.get("reducer", base.reducer)
    if (reducer == MERGE) != (base.reducer == MERGE):
        changes.setdefault("criterion", None)
    if "r" not in given and (rates or reducer != MERGE):
        changes["r"] = None  # a number of merges, whose place a keep rate takes
    return dataclasses.replace(base, **changes)


def _words(fields: dict[str, Any]) -> str:
    """Those fields that are not as by default, or that everybody wants to know."""
    defaults = pruning_fields(PruningConfig())
    known = ("criterion", "keep_rate", "blocks", "reducer")
    return ", ".join(
        f"{name}={value}"
        for name, value in fields.items()
        if name in known or value != defaults[name]
    )


def numbers(flag: str, texts: Sequence[str], kind: type = float) -> list[Any]:
    """The numbers of a flag whose values are separated by commas."""
    try:
        return [kind(text) for text in texts]
    except ValueError:
        expected = "whole numbers" if kind is int else "numbers"
        raise UserError(f"--{flag}={','.join(texts)}: expected {expected}.") from None
