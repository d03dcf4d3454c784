"""What a run trains on, as its checkpoints note it, so that other data are noticed."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax

from renyi_jax.common.progress import phase
from renyi_jax.data import Dataset, fingerprint

_SAMPLED = 1000

Identity = Mapping[str, Any]


def identity_of(dataset: Dataset) -> dict[str, Any]:
    """Returns the class names, the number of training examples, and a digest of 1,000 of them.

    Only process 0 reads; others get an empty identity.
    """
    if jax.process_index():
        return {}
    with phase("Reading what the training data are"):
        content = fingerprint(dataset.train, _SAMPLED)
    return {
        "name": dataset.name,
        "class_names": list(dataset.class_names),
        "num_examples": len(dataset.train),
        "content": content,
    }


def differences(now: Identity, before: Identity) -> Iterator[str]:
    """Yields what has changed, a line each."""
    if now["name"] != before["name"]:
        yield f"data set: {now['name']}, was {before['name']}"
    names, earlier = now["class_names"], before["class_names"]
    if names != earlier:
        came = ", ".join(repr(name) for name in names if name not in earlier)
        went = ", ".join(repr(name) for name in earlier if name not in names)
        yield (
            f"classes: {len(names)}, were {len(earlier)}"
            + (f"; new: {came}" if came else "")
            + (f"; gone: {went}" if went else "")
            + ("; in another order" if not came and not went else "")
        )
    if now["num_examples"] != before["num_examples"]:
        yield f"training examples: {now['num_examples']}, were {before['num_examples']}"
    elif now["content"] != before["content"]:
        yield "training examples: as many as before, and not the same images or labels"
