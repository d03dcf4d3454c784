"""From what a user types to the file of weights."""

import importlib.resources
import re
from pathlib import Path

from renyi_jax.errors import UserError, nearest

FILES = ("model.safetensors", "pytorch_model.bin", "model.pth")
"""What a directory or a repository of the hub is searched for, in this order."""

_HUB = re.compile(r"(?:hf[_-]hub:|(?=timm/))(?P<repository>[^@]+)(?:@(?P<revision>.+))?")
_EMBEDDED = "embedded:"


def locate(source: str | Path) -> Path:
    """The file that `source` stands for.

    Args:
        source: a file; a directory that holds one of `FILES`; `hf_hub:owner/name[@revision]`, or
            `timm/name`, on the Hugging Face hub; or `embedded:NAME`, shipped in this package.

    Raises:
        UserError: there is no such file, or the hub cannot be reached.
    """
    text = str(source)
    if text.startswith(_EMBEDDED):
        return _embedded(text.removeprefix(_EMBEDDED))
    path = Path(source)
    if path.is_dir():
        return _in_directory(path)
    if path.exists():
        return path
    if match := _HUB.fullmatch(text):
        return _download(match["repository"], match["revision"])
    siblings = [sibling.name for sibling in path.parent.glob("*")]
    raise UserError(
        f"No weights at {text!r}.{nearest(path.name, siblings)} Expected a file, a directory with"
        f" one of {', '.join(FILES)}, hf_hub:OWNER/NAME, or {_EMBEDDED}NAME."
    )


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
    try:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError:
        raise UserError(
            f"{repository!r} lies on the Hugging Face hub, and reading from there needs"
            " huggingface_hub: pip install huggingface_hub. Or download the file, and name it."
        ) from None
    for name in FILES:
        try:
            return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision))
        except LocalEntryNotFoundError:
            raise UserError(
                f"{repository!r} is not in the local cache, and the Hugging Face hub cannot be"
                " reached. Download the file elsewhere, and name it."
            ) from None
        except EntryNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise UserError(f"The Hugging Face hub does not give {repository!r}: {error}") from None
    raise UserError(f"{repository!r} on the Hugging Face hub has none of {', '.join(FILES)}.")
