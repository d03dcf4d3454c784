"""The memory that a request needs, refused before it is taken."""

import os

import jax

from renyi_jax.errors import UserError


def require_memory(needed_bytes: int | float, what: str) -> None:
    """Raises `UserError` where the device has less memory than `needed_bytes`, a lower bound.

    `what` needs them, and names the flags or fields that decide it, as in "--batch_size=16".
    """
    held = device_bytes()
    if needed_bytes > held:
        raise UserError(
            f"{what} needs {needed_bytes / 2**30:,.1f} GiB at the least, and this machine has"
            f" {held / 2**30:,.1f} GiB."
        )


def device_bytes() -> int:
    """The memory of the first device; of a CPU, that of its machine."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
