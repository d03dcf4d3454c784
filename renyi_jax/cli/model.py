"""The flags of the commands that take a model, its weights and its pruning.

What the flags do not say is taken from the notes in the file of weights, where it has any.
"""

from collections.abc import Callable
from typing import Any

from absl import flags, logging

from renyi_jax.cli.values import define
from renyi_jax.common.fields import image_size, integer, per_block, several
from renyi_jax.errors import UserError
from renyi_jax.inference import read_class_names
from renyi_jax.models import Loaded, load
from renyi_jax.models.registry import DTYPES
from renyi_jax.pruning import OPTIONS, PruningConfig

flags.disclaim_key_flags()  # the --help of the command that imports this file lists them


def define_image_size() -> flags.FlagHolder:
    """The flag --image_size: None, a side, or (height, width), as `load` takes it."""
    return define(
        "image_size",
        image_size(),
        "Side, or height,width, in pixels, to which the positional embedding is resized; that of"
        " the weights by default.",
        default=None,
    )


def define_weights(more: str = "", default: str | None = None, **options) -> flags.FlagHolder:
    """The flag --weights; `more` is what else its help says."""
    words = "A file of weights, a folder of them, a workdir of renyi_jax.main, hf_hub:OWNER/NAME"
    words += f", or embedded:NAME{more}."
    return flags.DEFINE_string("weights", default, words, **options)


def define_state() -> flags.FlagHolder:
    """The flag --state, which `load_weights` takes."""
    return flags.DEFINE_string(
        "state",
        None,
        "Which weights of a training checkpoint that holds several, such as state_dict_ema; their"
        " moving average by default.",
    )


def define_class_names() -> Callable[[], list[str] | None]:
    """Defines --class_names, and returns what reads them; None where the flag is not given."""
    path = flags.DEFINE_string(
        "class_names",
        None,
        "What the model's classes are called: a text file, one a line, in their order, or imagenet;"
        " those noted in the weights by default.",
    )
    return lambda: read_class_names(path.value) if path.value is not None else None


def define_plan() -> flags.FlagHolder:
    """The flag --plan, a file that `PruningConfig.load` reads."""
    return flags.DEFINE_string(
        "plan", None, "A plan of renyi_jax.plan, to prune by; a file that PruningConfig.save wrote."
    )


def define_model(required: bool = True, default: str | None = None) -> Callable[[], Loaded]:
    """Defines the flags, and returns what loads the model that they describe.

    Args:
        required: whether --help and the parser insist on --weights.
        default: of --weights.
    """
    defaults = PruningConfig()
    name = flags.DEFINE_string("model", None, "Name of the model; that of the weights.")
    weights = define_weights(default=default, required=required)
    state = define_state()
    size = define_image_size()
    dtype = flags.DEFINE_enum("dtype", "float32", list(DTYPES), "Of the computation.")
    plan = define_plan()

    blocks = several((), integer(1, at_least=1))
    fields = {"blocks": define("blocks", blocks, "Pruned, counted from 1.", default=None)} | {
        name: define(
            name,
            per_block(option.field),
            f"{option.help[0].upper()}{option.help[1:]}: {option.field.expected}. One for all"
            " pruned blocks, or one for each. As in --plan or the weights by default, or else"
            f" {getattr(defaults, name)}.",
            default=None,
        )
        for name, option in OPTIONS.items()
    }

    def load_model() -> Loaded:
        if not weights.value:
            raise UserError("--weights is needed, for a model to look at images.")
        given = {field: flag.value for field, flag in fields.items() if flag.value is not None}
        planned = PruningConfig.load(plan.value) if plan.value is not None else None
        loaded = load(
            weights.value,
            model=name.value,
            image_size=size.value or None,
            dtype=dtype.value,
            state=state.value,
        )
        source = plan.value or weights.value
        pruning = _pruning(planned or loaded.model.pruning, given, source)
        return loaded._replace(model=loaded.model.with_pruning(pruning))

    return load_model


def _pruning(
    noted: PruningConfig | None, given: dict[str, Any], source: str
) -> PruningConfig | None:
    """What the flags say, and for the rest what the file notes, or the default."""
    base = noted or PruningConfig()
    if "keep_mass" not in given and set(_listed(given.get("keep_rate"))) == {1.0}:
        return None
    if noted is not None:
        told = {name: value for name, value in base.to_json().items() if name not in given}
        logging.info("As %s notes, it is pruned with %s.", source, _words(told))
    return base.changed(**given)


def _listed(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _words(fields: dict[str, Any]) -> str:
    """Those fields that are not as by default, or that everybody wants to know."""
    defaults = PruningConfig().to_json()
    known = ("criterion", "keep_rate", "blocks", "reducer")
    return ", ".join(
        f"{name}={value}"
        for name, value in fields.items()
        if name in known or value != defaults[name]
    )
