"""Checks a config against the table of its fields, and compares two configs."""

from collections.abc import Iterable, Iterator
from typing import Any

import ml_collections

from renyi_jax.common.fields import Field
from renyi_jax.common.files import plain
from renyi_jax.config.fields import FIELDS, Config
from renyi_jax.errors import UserError, nearest
from renyi_jax.models.registry import model_spec
from renyi_jax.models.spec import ModelSpec
from renyi_jax.models.vit import check_blocks
from renyi_jax.pruning import OPTIONS, PruningConfig
from renyi_jax.pruning.sweep import evaluation_settings


def check_config(config: Config) -> ml_collections.FrozenConfigDict:
    """Returns the config in its one spelling, with the defaults of fields that it does not have.

    Raises UserError: all problems at once: unknown groups and fields, with the nearest name; values
    of the wrong type or out of range; a pruning or an image size that the model cannot take.
    """
    problems: list[str] = []
    checked = _checked_node(config, FIELDS, "config", problems)
    if not problems:
        _resolve_recipe(checked)
        problems += _across_fields(checked)
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise UserError(f"The config cannot be run:\n{listed}")
    return ml_collections.FrozenConfigDict(checked)


def recipe(config: Config) -> dict[str, Any]:
    """The fields of a checked config, by place, whose defaults depend on `model.weights`."""
    return {
        place.removeprefix("config."): value
        for place, value in _leaves(config.to_dict())
        if _field(place).pretrained is not None
    }


def pruning_config(config: Config) -> PruningConfig:
    """`config.pruning` as the model takes it."""
    fields = config.pruning.to_dict()
    return PruningConfig(**{name: fields[name] for name in ("blocks", *OPTIONS)})


def to_json(config: Config) -> dict[str, Any]:
    """Returns the config as JSON holds it: lists for tuples, and "inf" for infinity."""
    return plain(config.to_dict())


def deciding_differences(left: Config, right: Config) -> list[str]:
    """The fields, as `config.group.field=1, was 2`, that `left` and `right` (was) have different
    and that decide the course of the training. Both come from `check_config`."""
    before = dict(_leaves(right.to_dict()))
    return [
        f"{name}={value!r}, was {before[name]!r}"
        for name, value in _leaves(left.to_dict())
        if value != before[name] and _field(name).decides
    ]


def unknown_field(name: str) -> str | None:
    """What is wrong with "group.field", the name of a field; None if nothing is."""
    fields: Any = FIELDS
    where = "config"
    for part in name.split("."):
        if not isinstance(fields, dict):
            return f"{where} has no fields, so there is no config.{name}."
        if part not in fields:
            return _unknown(where, part, fields)
        fields, where = fields[part], f"{where}.{part}"
    return None


def _unknown(where: str, name: str, known: Iterable[str]) -> str:
    """Says that there is no such field, and which was meant: maybe one of another group."""
    known = list(known)
    hint = nearest(name, known)
    for group, fields in FIELDS.items():
        if isinstance(fields, dict) and name in fields:
            hint = f" Did you mean 'config.{group}.{name}'?"
    if not hint:
        hint = f" Known: {', '.join(known)}."
    return f"{where} has no field {name!r}.{hint}"


def _checked_node(
    config: Any, fields: dict[str, Any], where: str, problems: list[str]
) -> dict[str, Any]:
    if not isinstance(config, (dict, ml_collections.ConfigDict)):
        problems.append(f"{where}={config!r}: expected a group of fields: {', '.join(fields)}.")
        return {}
    problems += [_unknown(where, str(name), fields) for name in config if name not in fields]
    checked = {}
    for name, field in fields.items():
        place = f"{where}.{name}"
        if isinstance(field, dict):
            checked[name] = _checked_node(config.get(name, {}), field, place, problems)
            continue
        value = config.get(name, None if field.pretrained is not None else field.default)
        if value is None and field.pretrained is not None:
            checked[name] = None  # for _resolve_recipe
            continue
        try:
            checked[name] = field.parse(value)
        except (ValueError, TypeError) as error:
            hint = str(error) if str(error).startswith(" Did") else ""
            problems.append(f"{place}={value!r:.200}: expected {field.expected}.{hint}")
    return checked


def _resolve_recipe(config: dict[str, Any]) -> None:
    """Gives the fields that wait for `model.weights` their values."""
    for place, value in list(_leaves(config)):
        field = _field(place)
        if value is None and field.pretrained is not None:
            default = field.pretrained if config["model"]["weights"] else field.default
            _, group, name = place.split(".")
            config[group][name] = default(config) if callable(default) else default


def _across_fields(config: dict[str, Any]) -> Iterator[str]:
    """Problems of fields that are right by themselves."""
    model, train = config["model"], config["train"]
    try:
        plan = config["pruning"].pop("plan")
        pruning = PruningConfig.load(plan) if plan else PruningConfig(**config["pruning"])
        # The plan is written out, so that the config says all of the run without its file.
        known = {name: getattr(pruning, name) for name in ("blocks", *OPTIONS)}
        config["pruning"] = {"plan": "", **known}
    except UserError as error:
        pruning = None
        yield f"config.pruning: {str(error).removeprefix('PruningConfig: ')}"
    try:
        spec = model_spec(model["name"], image_size=model["image_size"] or None)
    except UserError as error:
        yield f"config.model: {error}"
    else:
        if pruning is not None:
            yield from _unsuitable(pruning, spec, ml_collections.ConfigDict(config["evaluate"]))
        late = [block for block in train["entropy_blocks"] if block > spec.depth]
        if train["entropy_weight"] and late:
            yield (
                f"config.train.entropy_blocks: block {late[0]} is beyond the last; the model has"
                f" {spec.depth} blocks, counted from 1."
            )
    sizes = list(config["mesh"].values())
    if 0 in sizes or sizes.count(-1) > 1:
        yield (
            f"config.mesh={config['mesh']}: expected numbers of devices, of which one may be -1 for"
            " those that the others leave."
        )
    epochs, batch_size = train["epochs"], config["data"]["batch_size"]
    for is_wrong, field, expected in (
        (
            batch_size % train["accumulate_steps"] > 0,
            "accumulate_steps",
            f"a divisor of config.data.batch_size={batch_size}",
        ),
        (
            train["patience"] and not train["evaluate_every_epochs"],
            "patience",
            "0 where config.train.evaluate_every_epochs=0 looks at no test image",
        ),
        (
            0 < epochs < train["keep_rate_epochs"],
            "keep_rate_epochs",
            f"at most config.train.epochs={epochs}",
        ),
        (
            0 < epochs <= train["warmup_epochs"],
            "warmup_epochs",
            f"less than config.train.epochs={epochs}",
        ),
    ):
        if is_wrong:
            yield f"config.train.{field}={train[field]}: expected {expected}."


def _unsuitable(
    pruning: PruningConfig, spec: ModelSpec, sweep: ml_collections.ConfigDict
) -> Iterator[str]:
    """Why the model cannot be pruned so, or in one of the ways of the sweep after training."""
    try:
        check_blocks(pruning, spec)
    except UserError as error:
        yield f"config.pruning: {str(error).removeprefix('PruningConfig: ')}"
        return
    try:
        for setting in evaluation_settings(pruning, sweep):
            check_blocks(setting, spec)
    except UserError as error:
        yield f"config.evaluate: {str(error).removeprefix('PruningConfig: ')}"


def _leaves(config: dict[str, Any], where: str = "config") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{where}.{name}")
        else:
            yield f"{where}.{name}", value


def _field(place: str) -> Field:
    fields: Any = FIELDS
    for part in place.split(".")[1:]:
        fields = fields[part]
    return fields
