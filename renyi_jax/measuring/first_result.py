"""How long a new process takes until it has named what is in an image."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from renyi_jax.models import VisionTransformer, save_weights


def seconds_to_first_result(model: VisionTransformer, name: str, image_size: tuple[int, int]):
    """Times `python -m renyi_jax.predict` from start to end, without and with the compilation
    cache.
    """
    with tempfile.TemporaryDirectory() as folder:
        weights, picture = Path(folder, "weights.safetensors"), Path(folder, "picture.png")
        save_weights(model, weights)
        pixels = np.random.default_rng(0).integers(0, 256, (*image_size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(picture)
        command = [sys.executable, "-m", "renyi_jax.predict", f"--model={name}"]
        command += [f"--weights={weights}", f"--image={picture}"]
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(Path(folder, "cache"))}

        def run() -> float:
            start = time.perf_counter()
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
            return time.perf_counter() - start

        return {"first": run(), "cached": run()}
