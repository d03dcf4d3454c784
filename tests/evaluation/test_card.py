"""The model card of a run."""

import yaml
from tiny import tiny_dataset, tiny_model, tiny_spec

from renyi_jax.config import default_config
from renyi_jax.evaluation.results import model_card
from renyi_jax.evaluation.run import run_evaluations
from renyi_jax.evaluation.tables import to_markdown
from renyi_jax.pruning import PruningConfig


def test_a_card_tells_the_accuracy_of_the_pruning_that_was_trained_and_all_that_was_judged():
    model = tiny_model(PruningConfig(blocks=(1, 2), keep_rate=0.3), tiny_spec(depth=2))
    dataset = tiny_dataset(16, masks=False)
    config = default_config()
    config.evaluate.batch_size = 8
    config.evaluate.keep_rates, config.evaluate.criteria = (1.0, 0.3), ("renyi",)
    config.evaluate.alphas = (2.0,)
    rows = run_evaluations(model, dataset, config)
    _, front, body = model_card(model, rows, dataset, config).split("---\n", 2)
    head = yaml.safe_load(front)
    (result,) = head["model-index"][0]["results"]
    (pruned,) = [row["top1"] for row in rows if row["keep_rate"] == 0.3]
    assert [metric["value"] for metric in result["metrics"]] == [pruned]
    assert head["pipeline_tag"] == "image-classification" and head["library_name"] == "renyi_jax"
    assert to_markdown(rows, "no pruning").strip() in body
    assert "in blocks 1, 2" in body and "from random weights" in body
    assert "No object masks" in body and "16 test images" in body
