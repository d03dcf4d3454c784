"""The Vision Transformer, pruned or not: one module, whose `pruning` says which.

Computes what timm's `VisionTransformer` and `Eva` compute, put together from the parts that
`ModelSpec` names.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from renyi_jax.attention import Needs
from renyi_jax.entropy import known_orders
from renyi_jax.errors import UserError
from renyi_jax.models.block import Block, Step
from renyi_jax.models.embed import (
    PatchEmbed,
    check_images,
    draw_patches,
    initial_positions,
    prefixed,
)
from renyi_jax.models.head import POOLS, AttentionPool
from renyi_jax.models.layers import Linear, layer_norm
from renyi_jax.models.microbatch import in_microbatches
from renyi_jax.models.spec import ModelSpec
from renyi_jax.parallel import BATCH_AXES, constrain
from renyi_jax.pruning import CRITERIA, PruningConfig, Record, Stage, Tokens, drop

Alpha = ArrayLike | Sequence[ArrayLike]
ReadAttention = Callable[[int, Float[Array, "b h n n"]], Any]

REMATERIALIZATIONS: dict[str, Callable[[Callable], Callable]] = {
    "none": lambda run: run,
    "blocks": nnx.remat,
    "elementwise": functools.partial(
        nnx.remat, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    ),
}
"""What the backward pass computes again rather than keep: nothing; whole blocks, of which only the
inputs stay; or all but the products with weights, which are what takes long."""


class VisionTransformer(nnx.Module):
    """A ViT for classification.

    Attributes:
        spec: its shape.
        pruning: which blocks are pruned and how; None for the plain model.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        pruning: PruningConfig | None,
        dtype,
        drop_path_rate: float,
        dropout_rate: float,
        patch_drop_rate: float,
        plain_patches_first: bool = False,
        remat: str = "none",
        rngs: nnx.Rngs,
    ):
        check_blocks(pruning, spec)
        self.spec = spec
        self.pruning = pruning
        self.dtype = dtype
        self.patch_drop_rate = patch_drop_rate
        self.plain_patches_first = plain_patches_first
        self.remat = remat

        initializer = nnx.initializers.truncated_normal(0.02)

        def prefix(length: int) -> nnx.Param | None:
            shape = (1, length, spec.embed_dim)
            return nnx.Param(initializer(rngs.params(), shape)) if length else None

        def classifier(exists: bool) -> Linear | None:
            shape = (spec.embed_dim, spec.num_classes)
            return (
                Linear(*shape, dtype=dtype, kernel_init=initializer, rngs=rngs) if exists else None
            )

        self.patch_embed = PatchEmbed(spec, dtype, rngs)
        self.cls_token = prefix(int(spec.class_token))
        self.dist_token = prefix(int(spec.distilled))
        self.reg_token = prefix(spec.num_registers)
        self.pos_embed = initial_positions(spec)
        self.dropout = nnx.Dropout(dropout_rate)
        self.norm_pre = layer_norm(spec, dtype, rngs) if spec.pre_norm else None
        self.blocks = nnx.List(
            Block(spec, drop_path_rate * i / max(1, spec.depth - 1), dropout_rate, dtype, rngs)
            for i in range(spec.depth)
        )
        self.norm = None if spec.fc_norm else layer_norm(spec, dtype, rngs)
        self.attn_pool = AttentionPool(spec, dtype, rngs) if spec.pool == "map" else None
        self.fc_norm = layer_norm(spec, dtype, rngs) if spec.fc_norm else None
        self.head = classifier(spec.num_classes > 0)
        self.head_dist = classifier(spec.num_classes > 0 and spec.distilled)

    def __call__(
        self,
        images: Float[Array, "b height width 3"],
        alpha: Alpha | None = None,
        *,
        return_trace: bool = False,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
    ):
        """Classifies images.

        Args:
            images: normalised by the mean and deviation of `spec`.
            alpha: order of the entropy, or one per pruned block; that of `pruning` by default.
                An array may be traced: another value compiles nothing.
            return_trace: also return one `PruningTrace` per pruned block.
            train: dropout, stochastic depth and patch dropout act; needs `rngs`.
            rngs: streams "dropout" and, for criterion "random", "pruning". Without them the random
                criterion draws the same scores in every call. An image's draw depends on its place
                in the batch, not on the size of the batch.

        Returns:
            Logits `[b, num_classes]` in float32, or without a head the pooled tokens `[b, d]`; with
            `return_trace`, the pair of it and the traces. A distilled model gives the mean of its
            two heads (Touvron et al. 2021, section 4).

        Raises:
            UserError: the images do not have the size of `spec`, or alpha has the wrong length.
        """

        def run(inputs):
            images, draws = inputs
            tokens, trace, _ = self._encode(
                images, alpha, None, draws, train=train, rngs=rngs if train else None
            )
            return self._classify(tokens), trace

        inputs = images, self._draw_scores(images, rngs)
        spec = self.spec
        if train:
            outputs, trace = run(inputs)
        else:
            outputs, trace = in_microbatches(run, inputs, spec.num_prefix + spec.num_patches)
        return (outputs, trace) if return_trace else outputs

    def read_attention(
        self,
        images: Float[Array, "b height width 3"],
        read: ReadAttention | None,
        alpha: Alpha | None = None,
        *,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
    ):
        """Classifies images, and reads the attention of every block on the way.

        Args:
            images: as in a call, like the arguments that are not named here.
            read: takes the number of a block, counted from 1, and its float32 attention logits
                `[b, h, n, n]`, prefix tokens first; returns any pytree of arrays, or
                None. None in its place reads nothing.

        Returns:
            The outputs of a call, and a tuple of what `read` returned for each block.
        """
        draws = self._draw_scores(images, rngs)
        tokens, _, readings = self._encode(images, alpha, read, draws, train=train, rngs=rngs)
        return self._classify(tokens), readings

    def forward_features(
        self,
        images: Float[Array, "b height width 3"],
        alpha: Alpha | None = None,
        *,
        grid: bool = False,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "b n d"] | Float[Array, "b rows columns d"]:
        """The prefix tokens and the patches left, after the last norm.

        Args:
            images: as in a call, like the arguments that are not named here.
            grid: return every patch of the images in its place, and no prefix tokens: a dropped or
                fused patch as it was when it left, a merged one as the token that it is part of,
                both after the last norm.

        Raises:
            UserError: as in a call, and for the grid of patches that patch dropout takes.
        """
        if grid and train and self.patch_drop_rate:
            raise UserError("grid=True needs every patch, and patch_drop_rate drops some.")
        draws = self._draw_scores(images, rngs)
        encode = functools.partial(self._encode, images, alpha, None, draws, train=train, rngs=rngs)
        tokens: Tokens = encode(recorded=grid)[0]
        if tokens.record is None:
            return tokens.values
        record = tokens.record
        if self.norm is not None:
            record = record._replace(states=self.norm(record.states))
        patches = record.seen(tokens.values[:, tokens.num_prefix :], tokens.positions).patches()
        return patches.reshape(len(images), *self.spec.grid_size, self.spec.embed_dim)

    def begin(self, images: Float[Array, "b height width 3"]) -> Tokens:
        """The tokens that enter block 1; images and errors as in a call."""
        return self._embed(images, train=False, rngs=None)

    def finish(self, tokens: Tokens) -> Float[Array, "b outputs"]:
        """The outputs of a call, of the tokens that left the last block."""
        return self._classify(self._normed(tokens))

    def with_pruning(self, pruning: PruningConfig | None) -> "VisionTransformer":
        """The same weights under another pruning; None for no pruning.

        Raises:
            UserError: a pruned block beyond the last.
        """
        check_blocks(pruning, self.spec)
        model = nnx.clone(self)
        model.pruning = pruning
        return model

    def _encode(
        self,
        images,
        alpha,
        read: ReadAttention | None,
        draws: dict[int, Float[Array, "b patches"]],
        *,
        train: bool,
        rngs: nnx.Rngs | None,
        recorded: bool = False,
    ):
        stages = self.pruning.by_block if self.pruning else {}
        orders = dict(zip(stages, self._alphas(alpha)))
        tokens = self._embed(images, train=train, rngs=rngs)
        if recorded:
            tokens = tokens._replace(record=Record.start(self.spec.num_patches, tokens.values))
        traces, readings = [], []
        for number, block in enumerate(self.blocks, start=1):
            read_block = functools.partial(read, number) if read else None
            run = functools.partial(run_block, stages.get(number), read_block, train)
            run = REMATERIALIZATIONS[self.remat](run)
            tokens, trace, reading = run(block, tokens, orders.get(number), draws.get(number), rngs)
            readings.append(reading)
            if trace is not None:
                traces.append(trace)
        return self._normed(tokens), tuple(traces), tuple(readings)

    def _normed(self, tokens: Tokens) -> Tokens:
        if self.norm is None:
            return tokens
        return tokens._replace(values=self.norm(tokens.values))

    def _draw_scores(self, images, rngs: nnx.Rngs | None) -> dict[int, Float[Array, "b patches"]]:
        """Uniform numbers for each block whose criterion draws its scores."""
        shape = (images.shape[0], self.spec.num_patches)
        return {
            stage.block: jax.random.uniform(
                jax.random.key(stage.block) if rngs is None else rngs.pruning(), shape
            )
            for stage in (self.pruning.stages if self.pruning else ())
            if stage.needs().draws
        }

    def _classify(self, tokens: Tokens) -> Float[Array, "b outputs"]:
        if self.attn_pool is not None:
            pooled = self.attn_pool(tokens)
        else:
            pooled = POOLS[self.spec.pool](tokens)
        if self.fc_norm is not None:
            pooled = self.fc_norm(pooled)
        if self.head is None:
            outputs = pooled
        elif self.head_dist is None:
            outputs = self.head(pooled)
        else:
            outputs = (self.head(pooled) + self.head_dist(tokens.values[:, 1])) / 2
        return outputs.astype(jnp.float32)

    def _embed(self, images, *, train: bool, rngs: nnx.Rngs | None) -> Tokens:
        if train and rngs is None:
            raise UserError("train=True draws dropout masks; give rngs=nnx.Rngs(dropout=seed).")
        check_images(images, self.spec)
        patches = self.patch_embed(images.astype(self.dtype))
        prefix = (self.cls_token, self.dist_token, self.reg_token)
        embedding = self.pos_embed
        values = prefixed(
            patches,
            [token[...] for token in prefix if token is not None],
            None if embedding is None else embedding[...],
        )
        values = self.dropout(values, deterministic=not train, rngs=rngs)
        positions = jnp.broadcast_to(jnp.arange(patches.shape[1]), patches.shape[:2])
        tokens = Tokens(values, positions)
        if rngs is not None and train and self.patch_drop_rate:
            rate, plain_first = self.patch_drop_rate, self.plain_patches_first
            key = rngs.dropout()
            tokens = drop(
                tokens, draw_patches(images, self.spec.patch_size, rate, plain_first, key)
            )
        values = tokens.values if self.norm_pre is None else self.norm_pre(tokens.values)
        return tokens._replace(values=constrain(values, BATCH_AXES, None, None))

    def _alphas(self, alpha: Alpha | None) -> Float[Array, "stages"]:
        """One order per pruned block."""
        default = self.pruning.per_block("alpha") if self.pruning else ()
        alphas = known_orders(default if alpha is None else alpha)
        if alphas.shape not in ((), (len(default),)):
            raise UserError(
                f"alpha has shape {alphas.shape}; expected one number,"
                f" or one for each of the {len(default)} pruned blocks."
            )
        # A traced order cannot be refused; nan at least makes nan of the outputs.
        alphas = jnp.where(alphas > 0, alphas, jnp.nan)
        return jnp.broadcast_to(alphas, (len(default),))


def run_block(
    stage: Stage | None,
    read: Callable[[Float[Array, "b h n n"]], Any] | None,
    train: bool,
    block: Block,
    tokens: Tokens,
    order: Float[Array, ""] | None,
    draws: Float[Array, "b patches"] | None,
    rngs: nnx.Rngs | None,
):
    """Runs one block, pruned by `stage` with this order.

    Returns:
        The tokens that leave it, its `PruningTrace` or None, and what `read` returned.
    """
    stage = None if stage is None or order is None else stage.at(order)
    step = Step(stage, draws, Needs(logits=read is not None))
    tokens, trace, evidence = block(tokens, step, train=train, rngs=rngs)
    if train:
        tokens = tokens._replace(values=_written(tokens.values))
    return tokens, trace, read and read(evidence.logits)


def _written(values: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    """The same values, which XLA on CPU writes to memory here.

    It would rather compute the sum of all later residual branches anew, for the gradient of each
    block before them.
    """
    return jax.lax.platform_dependent(
        values, cpu=jax.lax.optimization_barrier, default=lambda values: values
    )


def check_blocks(pruning: PruningConfig | None, spec: ModelSpec) -> None:
    """Raises `UserError` where a model cannot be pruned so."""
    if pruning is None:
        return
    for stage in pruning.stages:
        row = stage.criterion_row
        if row is None:
            continue
        if row.reads_class_token and not spec.class_token:
            others = [name for name, each in CRITERIA.items() if not each.reads_class_token]
            raise UserError(
                f"PruningConfig: criterion {str(stage.criterion)!r} reads the attention of a class"
                f" token, and the model has none; choose {', '.join(others[:-1])} or {others[-1]}."
            )
        if row.compares_heads and spec.num_heads == 1:
            raise UserError(
                f"PruningConfig: criterion {str(stage.criterion)!r} compares heads, and the model"
                " has one."
            )
    if pruning.blocks[-1] > spec.depth:
        raise UserError(
            f"PruningConfig: block {pruning.blocks[-1]} is beyond the last;"
            f" the model has {spec.depth} blocks, counted from 1."
        )
