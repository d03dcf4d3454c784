"""Repositories of the Hugging Face hub as they lie in its own cache."""

from collections.abc import Mapping
from pathlib import Path

_COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cache_of_hub(cache: Path, repository: str, files: Mapping[str, bytes]) -> Path:
    """Writes a repository into a cache, and returns the folder of its files."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / _COMMIT
    for name, data in files.items():
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_bytes(data)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(_COMMIT)
    return snapshot
