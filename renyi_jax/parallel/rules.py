"""Which dimension of which weight lies on which axis of the mesh: one table."""

import re
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from renyi_jax.parallel.mesh import fitting

RULES: tuple[tuple[str, tuple[str | tuple[str, ...] | None, ...]], ...] = (
    # The columns of qkv are query, key and value, one after the other, and each head has a share
    # of all three: no cut of the columns is a cut between heads. So its rows are cut by both axes,
    # and the heads are separated when it is used.
    (r"attn/qkv/kernel", (("fsdp", "tensor"), None)),
    # Megatron's pairing (Shoeybi et al. 2019, arXiv 1909.08053, section 3): cut by columns, then by
    # rows, so that a pair of products needs one sum over the axis.
    (r"attn/proj/kernel", ("tensor", "fsdp")),
    (r"mlp/(fc1|fc1_g|fc1_x)/kernel", ("fsdp", "tensor")),
    (r"mlp/(fc1|fc1_g|fc1_x)/bias", ("tensor",)),
    (r"mlp/fc2/kernel", ("tensor", "fsdp")),
    (r"(patch_embed/proj|head|head_dist|attn_pool/(q|kv|proj))/kernel", ("fsdp", None)),
)
"""Patterns of names, of which the first that ends a name holds; what none matches, which is small,
lies whole on every device. An axis that does not divide its dimension is left out."""


def state_shardings(mesh: Mesh | AbstractMesh, state: Any) -> Any:
    """Returns the `NamedSharding` of every array of a state, in the same tree.

    Paths end with the names of the model's parameters, as in the weights, the optimiser's moments
    and their moving average. Leaves are arrays, or have their shapes.
    """

    def sharding(path: Any, leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        for pattern, axes in RULES:
            if re.search(rf"(^|/){pattern}$", name):
                return NamedSharding(mesh, fitting(axes, leaf.shape, mesh.shape))
        return NamedSharding(mesh, PartitionSpec())

    return jax.tree_util.tree_map_with_path(sharding, state)
