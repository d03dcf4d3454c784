"""What an evaluation leaves in its folder: page, tables, curves, results.json, model card."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from renyi_jax.analysis.figures import curves
from renyi_jax.analysis.page import encode
from renyi_jax.analysis.report import write_report
from renyi_jax.common.files import write_bytes, write_text
from renyi_jax.common.progress import phase
from renyi_jax.common.provenance import write_results
from renyi_jax.config import to_json
from renyi_jax.data import Dataset
from renyi_jax.evaluation.compare import Row
from renyi_jax.evaluation.tables import to_csv, to_markdown
from renyi_jax.models import VisionTransformer
from renyi_jax.pruning.sweep import describe
from renyi_jax.training.setup import announcement


def write_evaluation(
    folder: epath.Path,
    rows: Sequence[Row],
    model: VisionTransformer,
    dataset: Dataset,
    config: Any,
    *,
    baseline: str = "none",
    weights: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Writes report/index.html, results.csv, results.md, curves, and last results.json; prints the
    table.

    Args:
        model: its pruning is shown on the first test images.
        baseline: what the rows are compared with, as the user named it.
        weights: where the model's weights are; in `folder` by default.
    """
    table = to_markdown(rows, "no pruning" if baseline == "none" else baseline)
    with phase("Drawing the report"):
        write_report(folder, rows, model, dataset, config, baseline=baseline, weights=weights)
        for x in ("gmacs", "images_per_second"):
            figure = curves(rows, x, "top1")
            for ending in ("png", "svg"):
                write_bytes(folder / f"top1_over_{x}.{ending}", encode(figure, ending, dpi=200))
    write_text(folder / "results.csv", to_csv(rows))
    write_text(folder / "results.md", table)
    results = {"config": to_json(config), "baseline": baseline, "evaluations": rows, **(more or {})}
    write_results(folder / "results.json", results)
    print(table)


def model_card(model: VisionTransformer, rows: Sequence[Row], dataset: Dataset, config: Any) -> str:
    """Returns what the model is, how well it does, how it was trained, and where its limits are."""
    setting = describe(model.pruning)
    own = [row for row in rows if all(row.get(name) == value for name, value in setting.items())]
    task = "image-classification"
    result = {
        "task": {"type": task},
        "dataset": {"name": dataset.name, "type": dataset.name},
        "metrics": [{"type": "accuracy", "name": "top-1", "value": row["top1"]} for row in own[:1]],
    }
    head = {
        "library_name": "renyi_jax",
        "pipeline_tag": task,
        "tags": ["jax", "vision-transformer", "token-pruning"],
        "model-index": [{"name": config.model.name, "results": [result]}],
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
