"""From what a user types to the file of weights."""

import importlib.resources
import json
import os
import re
from pathlib import Path

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from huggingface_hub.utils import get_session

from renyi_jax.errors import UserError, nearest

FILES = ("model.safetensors", "pytorch_model.bin", "model.pth")
"""What a directory or a repository of the hub is searched for, in this order."""

_CONFIG = "config.json"  # timm's, which names the architecture
_HUB = re.compile(r"(?:hf[_-]hub:|(?=timm/))(?P<repository>[^@]+)(?:@(?P<revision>.+))?")
_EMBEDDED = "embedded:"
_EXPECTED = (
    f"Expected a file, a directory with one of {', '.join(FILES)}, hf_hub:OWNER/NAME, or"
    f" {_EMBEDDED}NAME."
)
_PATIENCE = 5  # seconds that the hub has to answer


def locate(source: str | Path) -> Path:
    """Finds the file that `source` stands for.

    Args:
        source: a file; a directory that holds one of `FILES`; `hf_hub:owner/name[@revision]`, or
            `timm/name`, on the Hugging Face hub; or `embedded:NAME`, shipped in this package.

    Raises:
        UserError: there is no such file, it is no regular one, or the hub cannot be reached.
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


def noted_beside(source: str | Path, path: Path) -> dict[str, str]:
    """Finds what is known of weights from elsewhere than their file.

    Args:
        source: as in `locate`.
        path: what `locate` returned.

    Returns:
        "model", if the name of timm's repository, or timm's config.json beside `path`, tells it.
    """
    match = _HUB.fullmatch(os.fspath(source))
    if match and match["repository"].startswith("timm/") and not Path(source).exists():
        return {"model": match["repository"].removeprefix("timm/")}
    config = path.with_name(_CONFIG)
    try:
        if not config.is_file() or config.stat().st_size > 1 << 20:
            return {}
        architecture = json.loads(config.read_bytes())["architecture"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}  # some other program's
    return {"model": architecture} if isinstance(architecture, str) else {}


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
    """The file in the local cache, where it is brought to if the hub can be reached."""
    is_offline = not _is_reachable()

    def fetch(name: str) -> Path | None:
        try:
            return Path(
                hf_hub_download(repository, name, revision=revision, local_files_only=is_offline)
            )
        except LocalEntryNotFoundError:
            if not is_offline:
                raise
        except EntryNotFoundError:
            pass
        return None

    try:
        path = next(filter(None, map(fetch, FILES)), None)
        if path and not repository.startswith("timm/"):
            fetch(_CONFIG)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"The Hugging Face hub does not give {repository!r}: {reason}") from None
    if path is None and is_offline:
        raise UserError(
            f"{repository!r} is not in the local cache, and the Hugging Face hub cannot be reached."
            " Download the file elsewhere, and name it."
        )
    if path is None:
        raise UserError(f"{repository!r} on the Hugging Face hub has none of {', '.join(FILES)}.")
    return path


def _is_reachable() -> bool:
    """Whether the hub answers: the library would try each file six times, and tell each."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except Exception:  # of whichever client the library uses
        return False
    return True
