"""The optimiser that `config.train` describes."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def learning_rate_schedule(options: Any, batch_size: int, steps_per_epoch: int) -> optax.Schedule:
    """Linear warm-up from 0, then half a cosine down to `final_learning_rate` of the peak.

    The peak scales with the global batch size over `base_batch_size`, if that is given (Goyal et
    al. 2017, arXiv 1706.02677, section 2.1). The last step is never part of the warm-up.
    """
    peak = options.learning_rate
    if options.base_batch_size:
        peak *= batch_size / options.base_batch_size
    steps = max(1, options.epochs * steps_per_epoch)
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=peak,
        warmup_steps=min(round(options.warmup_epochs * steps_per_epoch), steps - 1),
        decay_steps=steps,
        end_value=peak * options.final_learning_rate,
    )


def decays(params: Any) -> Any:
    """True for each parameter that weight decay acts on: the matrices of dense layers.

    Biases, norms and LayerScale are vectors; tokens and positional embeddings have three axes.
    """
    return jax.tree.map(lambda value: value.ndim == 2, params)


def layer_scales(params: Any, decay: float) -> Any:
    """Returns the share of the learning rate of each parameter: `decay` to the power of its depth.

    Depth is counted down from the classifier as by BEiT (Bao et al. 2021, arXiv 2106.08254): the
    classifier and the last norm have 0, the last block 1, the embeddings one more than block 1.
    """
    num_blocks = len(params["blocks"])

    def scale(path: Any, _: Any) -> float:
        first, *rest = (key.key for key in path)
        if first == "blocks":
            return decay ** (num_blocks - int(rest[0]))
        return 1.0 if first in ("norm", "head", "head_dist") else decay ** (num_blocks + 1)

    return jax.tree_util.tree_map_with_path(scale, params)


def make_optimizer(options: Any, schedule: optax.Schedule) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) on clipped gradients."""

    def scaled(updates: Any, params: Any) -> Any:
        return jax.tree.map(jnp.multiply, updates, layer_scales(params, options.layer_decay))

    return optax.chain(
        optax.clip_by_global_norm(options.clip_norm),
        optax.adamw(
            schedule,
            b1=options.b1,
            b2=options.b2,
            weight_decay=options.weight_decay,
            mask=decays,
        ),
        optax.stateless(scaled) if options.layer_decay < 1 else optax.identity(),
    )
