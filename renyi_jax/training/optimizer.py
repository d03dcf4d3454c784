"""The optimiser that `config.train` describes."""

from typing import Any

import jax
import optax


def learning_rate_schedule(options: Any, batch_size: int, steps_per_epoch: int) -> optax.Schedule:
    """Linear warm-up from 0, then half a cosine wave down to `final_learning_rate` of the peak.

    Args:
        options: `config.train`.
        batch_size: of the global batch, by which the peak is scaled if `base_batch_size` says so
            (Goyal et al. 2017, arXiv 1706.02677, section 2.1).
        steps_per_epoch: what the schedule's epochs are counted in.
    """
    peak = options.learning_rate
    if options.base_batch_size:
        peak *= batch_size / options.base_batch_size
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=peak,
        warmup_steps=round(options.warmup_epochs * steps_per_epoch),
        decay_steps=options.epochs * steps_per_epoch,
        end_value=peak * options.final_learning_rate,
    )


def decays(params: Any) -> Any:
    """True for each parameter that weight decay acts on: the matrices of dense layers.

    Biases, norms and LayerScale are vectors; tokens and positional embeddings have three axes.
    """
    return jax.tree.map(lambda value: value.ndim == 2, params)


def make_optimizer(options: Any, schedule: optax.Schedule) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) on clipped gradients.

    Args:
        options: `config.train`.
        schedule: the learning rate of each step.
    """
    return optax.chain(
        optax.clip_by_global_norm(options.clip_norm),
        optax.adamw(
            schedule,
            b1=options.b1,
            b2=options.b2,
            weight_decay=options.weight_decay,
            mask=decays,
        ),
    )
