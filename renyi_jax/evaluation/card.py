"""The model card that lies beside the weights of a run, as the Hugging Face hub reads it."""

import json
from collections.abc import Sequence
from typing import Any

from renyi_jax.data import Dataset
from renyi_jax.evaluation.compare import Row
from renyi_jax.evaluation.tables import to_markdown
from renyi_jax.models import VisionTransformer
from renyi_jax.pruning.sweep import describe
from renyi_jax.training.announcement import announcement


def model_card(model: VisionTransformer, rows: Sequence[Row], dataset: Dataset, config: Any) -> str:
    """Returns what the model is, how well it does, how it was trained, and where its limits are.

    Args:
        model: with the pruning that it was trained with.
        rows: of its evaluation.
        dataset: that it was trained and tested on.
        config: of the run.
    """
    setting = describe(model.pruning)
    own = [row for row in rows if all(row.get(name) == value for name, value in setting.items())]
    metrics = [{"type": "accuracy", "name": "top-1", "value": row["top1"]} for row in own[:1]]
    head = {
        "library_name": "renyi_jax",
        "pipeline_tag": "image-classification",
        "tags": ["jax", "vision-transformer", "token-pruning"],
        "model-index": [
            {
                "name": config.model.name,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": dataset.name, "type": dataset.name},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }
    front = "\n".join(f"{name}: {json.dumps(value)}" for name, value in head.items())
    masks = "" if dataset.has_object_masks else " No object masks: where it looks is not measured."
    return f"""---
{front}
---

# {config.model.name} on {dataset.name}

A Vision Transformer that drops patches on the way (arXiv 2604.03803).

```bash
python -m renyi_jax.predict --weights=FOLDER --image=FILE    # of this card, or hf_hub:OWNER/NAME
```

## Results

On {len(dataset.test):,} test images. `results.json` has all that was measured, and the config.

{to_markdown(rows, "no pruning").strip()}

## Training

```
{announcement(model, dataset, config)}
```

## Limits

It knows the {dataset.num_classes} classes of {dataset.name}, and gives one of them to any picture.
It was tried on test images of that data set alone, with seed {config.seed} alone.{masks}
"""
