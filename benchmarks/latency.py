"""What one image costs at batch 1: what `renyi_jax.predict` calls, and a bare `jax.jit`.

    python benchmarks/latency.py [--model=deit_small_patch16_224] [--keep_rate=0.7] [--budget=20]

The bare function has the same weights as a plain dict; a third takes them as an `nnx.State`. All
three take turns in one process; printed are the medians, and their ratios to the bare one.
"""

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from flax import nnx

from renyi_jax.cli import commands
from renyi_jax.inference import Classifier
from renyi_jax.measuring.side_by_side import Group, random_model
from renyi_jax.measuring.throughput import seconds_per_call
from renyi_jax.models.registry import model_spec
from renyi_jax.pruning import PruningConfig

_MODEL = flags.DEFINE_string("model", "deit_small_patch16_224", "Name of the model.")
_KEEP_RATE = flags.DEFINE_float("keep_rate", 0.7, "Of each pruned block.")
_BUDGET = flags.DEFINE_float("budget", 20.0, "Seconds for each of the three.")


def main() -> None:
    spec = model_spec(_MODEL.value)
    group = Group(_MODEL.value, spec.image_size, "float32", 1)
    model = random_model(group).with_pruning(PruningConfig(keep_rate=_KEEP_RATE.value))
    pixels = np.random.default_rng(0).integers(0, 256, (1, *spec.image_size, 3), np.uint8)
    alpha = np.full(3, 2.0, np.float32)
    graph, state = nnx.split(model)

    @jax.jit
    def bare(weights, pixels, alpha):
        images = (pixels / jnp.float32(255) - jnp.array(spec.mean)) / jnp.array(spec.std)
        logits, trace = nnx.merge(graph, weights)(images, alpha, return_trace=True)
        return jax.nn.softmax(logits), trace[-1].kept

    classifier = Classifier(model, batch_size=1)
    plain = nnx.to_pure_dict(state)
    calls = {
        "jax.jit, a plain dict": lambda: bare(plain, pixels, alpha),
        "renyi_jax.predict": lambda: classifier.probabilities(pixels),
        "jax.jit, an nnx.State": lambda: bare(state, pixels, alpha),
    }
    for call in calls.values():
        jax.block_until_ready(call())
    seconds = seconds_per_call(calls, budget=_BUDGET.value, max_rounds=1000)
    first, *_ = seconds.values()
    for name, median in seconds.items():
        print(f"{name:24} {1e3 * median:8.3f} ms {median / first:6.3f} x")


if __name__ == "__main__":
    commands.run(main)
