"""Weights, and what lies beside them, onto the Hugging Face hub."""

import os
from collections.abc import Mapping

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from renyi_jax.errors import UserError

_PREFIX = "hf_hub:"


def hub_repository(option: str, value: str) -> str:
    """Returns the OWNER/NAME of `hf_hub:OWNER/NAME`, which the user gave to `option`.

    Raises UserError: it is no such name, or there is no token to write with.
    """
    name = value.removeprefix(_PREFIX)
    try:
        validate_repo_id(name)
        is_name = value.startswith(_PREFIX) and name.count("/") == 1
    except HFValidationError:
        is_name = False
    if not is_name:
        raise UserError(
            f"{option}={value}: expected {_PREFIX}OWNER/NAME, of letters, digits, '-', '_' and '.'."
        )
    if get_token() is None:
        raise UserError(
            f"{option}={value} needs a token that may write: `hf auth login` keeps one, or the"
            " variable HF_TOKEN has it."
        )
    return name


def push(repository: str, files: Mapping[str, str | os.PathLike]) -> str:
    """Uploads files in one commit to OWNER/NAME, which is made if there is none.

    `files` are on this disk, by what they are called there. Returns the repository's address.

    Raises UserError: the hub cannot be reached, or does not take them.
    """
    api = HfApi()
    added = [CommitOperationAdd(name, os.fspath(file)) for name, file in files.items()]
    try:
        address = api.create_repo(repository, exist_ok=True)
        api.create_commit(repository, added, commit_message="Upload from renyi_jax")
    except Exception as error:  # whatever the client raises, which differs between its versions
        reason = f"{error}".strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"The Hugging Face hub does not take {repository!r}: {reason[0]}"
        ) from error
    return str(address)
