"""The flags of the commands that take a model, its weights and its pruning."""

from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from renyi_jax.errors import UserError
from renyi_jax.models import VisionTransformer
from renyi_jax.models.load import model_from
from renyi_jax.models.registry import DTYPES, model_spec
from renyi_jax.pruning import PruningConfig
from renyi_jax.weights import read_checkpoint

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


def image_size(sides: Sequence[str] | None) -> tuple[int, int] | None:
    """(height, width) from what --image_size was given."""
    if sides is None:
        return None
    numbers = [int(side) for side in sides if side.strip().isdigit()]
    if len(numbers) != len(sides) or len(numbers) not in (1, 2):
        raise UserError(f"--image_size={','.join(sides)}: expected a side, or height,width.")
    return numbers[0], numbers[-1]


def define_model(required: bool = True) -> Callable[[], VisionTransformer]:
    """Defines the flags, and returns what loads the model that they describe.

    Args:
        required: whether the command cannot do without; otherwise loading complains.
    """
    defaults = PruningConfig()
    name = flags.DEFINE_string("model", None, "Name of the model.", required=required)
    weights = flags.DEFINE_string(
        "weights",
        None,
        "A file of weights, a workdir of renyi_jax.main, hf_hub:timm/NAME, or embedded:NAME.",
        required=required,
    )
    size = define_image_size()
    dtype = flags.DEFINE_enum("dtype", "float32", list(DTYPES), "Of the computation.")
    several = " One for all pruned blocks, or one for each."
    fields = {
        "criterion": flags.DEFINE_list(
            "criterion", [str(defaults.criterion)], "How patches are scored." + several
        ),
        "alpha": flags.DEFINE_list(
            "alpha", [str(defaults.alpha)], "Order of the entropy, up to inf." + several
        ),
        "keep_rate": flags.DEFINE_list(
            "keep_rate",
            [str(defaults.keep_rate)],
            "Share of the patches that is kept; 1 is the model without pruning." + several,
        ),
        "blocks": flags.DEFINE_list(
            "blocks", [str(block) for block in defaults.blocks], "Pruned, counted from 1."
        ),
        "reducer": flags.DEFINE_string(
            "reducer", defaults.reducer, "What becomes of the patches that are not kept."
        ),
    }

    def load() -> VisionTransformer:
        model, source = _given(name), _given(weights)
        pruning = _pruning(**{field: flag.value for field, flag in fields.items()})
        model_spec(model)  # a wrong name is told before a large file is read
        return model_from(
            read_checkpoint(source),
            model,
            image_size=image_size(size.value),
            pruning=pruning,
            dtype=dtype.value,
        )

    return load


def _given(flag: flags.FlagHolder) -> str:
    if not flag.value:
        raise UserError(f"--{flag.name} is needed, for a model to look at pictures.")
    return flag.value


def _pruning(*, criterion, alpha, keep_rate, blocks, reducer) -> PruningConfig | None:
    rates = numbers("keep_rate", keep_rate)
    if all(rate == 1 for rate in rates):
        return None
    return PruningConfig(
        criterion=_one_or_each(list(criterion)),
        alpha=_one_or_each(numbers("alpha", alpha)),
        keep_rate=_one_or_each(rates),
        blocks=tuple(numbers("blocks", blocks, int)),
        reducer=reducer,
    )


def numbers(flag: str, texts: Sequence[str], kind: type = float) -> list[Any]:
    """The numbers of a flag whose values are separated by commas."""
    try:
        return [kind(text) for text in texts]
    except ValueError:
        expected = "whole numbers" if kind is int else "numbers"
        raise UserError(f"--{flag}={','.join(texts)}: expected {expected}.") from None


def _one_or_each(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)
