"""From what a user types to the file of weights."""

import importlib.resources
import os
import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from renyi_jax.errors import UserError, nearest
from renyi_jax.weights.config_json import CONFIGS

INDEX = "model.safetensors.index.json"
"""Which file holds which tensor, where large weights lie in several."""

FILES = ("model.safetensors", INDEX, "pytorch_model.bin", "model.pth")
"""What a directory or a repository of the hub is searched for, in this order."""

_SHARDS = "model-*-of-*.safetensors"
_HUB = re.compile(r"(?:hf[_-]hub:|(?=timm/))(?P<repository>[^@]+)(?:@(?P<revision>.+))?")
_EMBEDDED = "embedded:"
_EXPECTED = (
    f"Expected a file, a directory with one of {', '.join(FILES)}, hf_hub:OWNER/NAME, or"
    f" {_EMBEDDED}NAME."
)


def locate(source: str | Path) -> Path:
    """Finds the file that `source` stands for.

    Args:
        source: a file; a directory that holds one of `FILES`; `hf_hub:owner/name[@revision]`, or
            `timm/name`, on the Hugging Face hub, which is asked for its config.json too; or
            `embedded:NAME`, shipped in this package.

    Raises:
        UserError: there is no such file, it is no regular one, or the hub cannot be reached and
            the local cache does not have it.
    """
    text = os.fspath(source)
    if text.startswith(_EMBEDDED):
        return _embedded(text.removeprefix(_EMBEDDED))
    if not text.strip() or "\0" in text:
        raise UserError(f"No weights at {text!r}. {_EXPECTED}")
    path = Path(os.path.expanduser(text))
    try:
        if path.is_dir():
            path = _in_directory(path)
        if path.is_file():
            return path
        if path.exists():  # such as a pipe, which would be waited for
            raise UserError(f"{path} is no regular file. {_EXPECTED}")
        if match := _HUB.fullmatch(text):
            return _download(match["repository"], match["revision"])
        siblings = [sibling.name for sibling in path.parent.glob("*")]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    raise UserError(f"No weights at {text!r}.{nearest(path.name, siblings)} {_EXPECTED}")


def timm_repository(source: str | Path) -> str | None:
    """Returns the name of the model that a repository of timm on the hub is called after."""
    match = _HUB.fullmatch(os.fspath(source))
    is_timm = match and match["repository"].startswith("timm/") and not Path(source).exists()
    return match["repository"].removeprefix("timm/") if match and is_timm else None


def _embedded(name: str) -> Path:
    folder = Path(str(importlib.resources.files("renyi_jax"))) / "assets"
    names = sorted(path.stem for path in folder.glob("*.safetensors"))
    if name not in names:
        raise UserError(
            f"No weights named {name!r} are shipped; shipped: {', '.join(names) or 'none'}."
            + nearest(name, names)
        )
    return folder / f"{name}.safetensors"


def _in_directory(folder: Path) -> Path:
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    unfinished = (
        f" A run writes {FILES[0]} into its workdir when it ends: start renyi_jax.main again to let"
        " it go on to its end."
    )
    is_run = (folder / "checkpoints").is_dir() or folder.name == "checkpoints"
    raise UserError(
        f"No weights in the directory {folder}: it has none of {', '.join(FILES)}."
        + (unfinished if is_run else "")
    )


def _download(repository: str, revision: str | None) -> Path:
    """The file in the hub's own cache, where it is brought to if the hub can be reached."""
    try:
        # Safetensors first: the other files may hold the same weights once more.
        for names in ([*CONFIGS, *FILES[:2], _SHARDS], *([name] for name in FILES[2:])):
            folder = Path(snapshot_download(repository, revision=revision, allow_patterns=names))
            for name in FILES:
                if (folder / name).is_file():
                    return folder / name
    except LocalEntryNotFoundError:
        raise UserError(
            f"{repository!r} is not in the local cache, and the Hugging Face hub cannot be reached."
            " Download the file elsewhere, and name it."
        ) from None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"The Hugging Face hub does not give {repository!r}: {reason}") from None
    raise UserError(f"{repository!r} on the Hugging Face hub has none of {', '.join(FILES)}.")
