"""The Vision Transformer, pruned or not: one module, whose `pruning` says which.

Computes what timm's `VisionTransformer` computes: pre-norm blocks, exact GELU, class token pooling.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from renyi_jax.attention import Needs
from renyi_jax.entropy import known_orders
from renyi_jax.errors import UserError
from renyi_jax.models.block import Block, Step
from renyi_jax.models.in_parts import in_parts
from renyi_jax.models.layers import Linear, PatchEmbed, layer_norm, patchify, sincos_embedding
from renyi_jax.models.spec import ModelSpec
from renyi_jax.parallel import BATCH_AXES, constrain, per_shard
from renyi_jax.pruning import PruningConfig, Selection, Stage, Tokens, drop, keep_count, select

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

        self.patch_embed = PatchEmbed(spec.patch_size, spec.embed_dim, dtype, rngs)
        self.cls_token = prefix(1)
        self.dist_token = prefix(int(spec.distilled))
        self.reg_token = prefix(spec.num_registers)
        embedding = sincos_embedding(spec.grid_size, spec.embed_dim)
        embedded_prefix = spec.num_prefix if spec.prefix_embedded else 0
        self.pos_embed = nnx.Param(jnp.pad(embedding, ((embedded_prefix, 0), (0, 0)))[None])
        self.dropout = nnx.Dropout(dropout_rate)
        self.blocks = nnx.List(
            Block(spec, drop_path_rate * i / max(1, spec.depth - 1), dropout_rate, dtype, rngs)
            for i in range(spec.depth)
        )
        self.norm = layer_norm(spec.embed_dim, dtype, rngs)
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
            Logits `[b, num_classes]` in float32, or without a head the normalised class token
            `[b, d]`; with `return_trace`, the pair of it and the traces. A distilled model gives
            the mean of its two heads (Touvron et al. 2021, section 4).

        Raises:
            UserError: the images do not have the size of `spec`, or alpha has the wrong length.
        """

        def run(inputs):
            images, draws = inputs
            values, trace, _ = self._encode(
                images, alpha, None, draws, train=train, rngs=rngs if train else None
            )
            return self._classify(values), trace

        inputs = images, self._draw_scores(images, rngs)
        spec = self.spec
        if train:
            outputs, trace = run(inputs)
        else:
            outputs, trace = in_parts(run, inputs, spec.num_prefix + spec.num_patches)
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
        values, _, readings = self._encode(images, alpha, read, draws, train=train, rngs=rngs)
        return self._classify(values), readings

    def forward_features(
        self,
        images: Float[Array, "b height width 3"],
        alpha: Alpha | None = None,
        *,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "b n d"]:
        """The prefix tokens and the patches left, after the last norm; arguments as in a call."""
        draws = self._draw_scores(images, rngs)
        return self._encode(images, alpha, None, draws, train=train, rngs=rngs)[0]

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
    ):
        stages = self.pruning.by_block if self.pruning else {}
        orders = dict(zip(stages, self._alphas(alpha)))
        tokens = self._embed(images, train=train, rngs=rngs)
        traces, readings = [], []
        for number, block in enumerate(self.blocks, start=1):
            read_block = functools.partial(read, number) if read else None
            run = functools.partial(_run_block, stages.get(number), read_block, train)
            run = REMATERIALIZATIONS[self.remat](run)
            tokens, trace, reading = run(block, tokens, orders.get(number), draws.get(number), rngs)
            readings.append(reading)
            if trace is not None:
                traces.append(trace)
        return self.norm(tokens.values), tuple(traces), tuple(readings)

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

    def _classify(self, values: Float[Array, "b n d"]) -> Float[Array, "b outputs"]:
        if self.head is None:
            outputs = values[:, 0]
        elif self.head_dist is None:
            outputs = self.head(values[:, 0])
        else:
            outputs = (self.head(values[:, 0]) + self.head_dist(values[:, 1])) / 2
        return outputs.astype(jnp.float32)

    def _embed(self, images, *, train: bool, rngs: nnx.Rngs | None) -> Tokens:
        if train and rngs is None:
            raise UserError("train=True draws dropout masks; give rngs=nnx.Rngs(dropout=seed).")
        self._check(images)
        batch = images.shape[0]
        patches = self.patch_embed(images.astype(self.dtype))
        prefix = (self.cls_token, self.dist_token, self.reg_token)
        prefix = [token[...] for token in prefix if token is not None]
        prefix = jnp.concatenate(prefix, axis=1).astype(self.dtype)
        prefix = jnp.broadcast_to(prefix, (batch, *prefix.shape[1:]))
        embedding = self.pos_embed[...].astype(self.dtype)
        if self.spec.prefix_embedded:
            values = jnp.concatenate([prefix, patches], axis=1) + embedding
        else:
            values = jnp.concatenate([prefix, patches + embedding], axis=1)
        values = self.dropout(values, deterministic=not train, rngs=rngs)
        positions = jnp.broadcast_to(jnp.arange(patches.shape[1]), patches.shape[:2])
        tokens = Tokens(values, positions)
        if rngs is not None and train and self.patch_drop_rate:
            tokens = drop(tokens, self._draw_patches(images, rngs.dropout()))
        values = constrain(tokens.values, BATCH_AXES, None, None)
        return tokens._replace(values=values)

    def _check(self, images) -> None:
        """Raises `UserError` for what is no batch of images of the model's size."""
        if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
            raise UserError(
                f"An array of {images.dtype} and shape {images.shape} is no batch of images;"
                " expected floats [batch, height, width, 3], normalised by"
                " `renyi_jax.models.normalize_images`."
            )
        _, height, width, channels = images.shape
        if channels != 3:
            first = images.shape[1] == 3
            raise UserError(
                f"Images of shape {images.shape} have {channels} channels; expected"
                " [batch, height, width, 3]"
                + (": move their channels last, jnp.moveaxis(images, 1, -1)." if first else ".")
                + (" Repeat the grey channel three times." if channels == 1 else "")
            )
        if (height, width) != self.spec.image_size:
            expected = " x ".join(map(str, self.spec.image_size))
            raise UserError(
                f"Images are {height} x {width} pixels and the model was built for {expected};"
                f" resize them, or build it with image_size=({height}, {width})."
            )

    def _draw_patches(self, images, key: PRNGKeyArray) -> Selection:
        """The patches that PatchDropout leaves (Liu et al. 2022, arXiv 2208.07220)."""
        scores = jax.random.uniform(key, (images.shape[0], self.spec.num_patches))
        if self.plain_patches_first:
            pixels = patchify(images, self.spec.patch_size)
            colors = pixels.reshape(*pixels.shape[:2], -1, 3)
            scores += jnp.ptp(colors, axis=2).max(axis=-1) > 0
        count = keep_count(scores.shape[1], 1 - self.patch_drop_rate)
        kept = per_shard(functools.partial(select, count=count), scores)
        return Selection(scores, kept, needed=None, weights=None)

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


def _run_block(
    stage: Stage | None,
    read: Callable[[Float[Array, "b h n n"]], Any] | None,
    train: bool,
    block: Block,
    tokens: Tokens,
    order: Float[Array, ""] | None,
    draws: Float[Array, "b patches"] | None,
    rngs: nnx.Rngs | None,
):
    stage = None if stage is None or order is None else stage.at(order)
    step = Step(stage, draws, Needs(logits=read is not None))
    tokens, trace, evidence = block(tokens, step, train=train, rngs=rngs)
    return tokens, trace, read and read(evidence.logits)


def check_blocks(pruning: PruningConfig | None, spec: ModelSpec) -> None:
    """Raises `UserError` where a model cannot be pruned so."""
    if pruning is None:
        return
    for stage in pruning.stages:
        row = stage.criterion_row
        if row is not None and row.compares_heads and spec.num_heads == 1:
            raise UserError(
                f"PruningConfig: criterion {str(stage.criterion)!r} compares heads, and the model"
                " has one."
            )
    if pruning.blocks[-1] > spec.depth:
        raise UserError(
            f"PruningConfig: block {pruning.blocks[-1]} is beyond the last;"
            f" the model has {spec.depth} blocks, counted from 1."
        )
