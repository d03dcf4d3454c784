"""DeiT-S with Rényi pruning on ImageNet-100, as in arXiv 2604.03803: alpha 2, keep rate 0.7.

30 epochs; how long that takes on which chip has not been measured yet.
python -m renyi_jax.main --config=configs/deit_s_imagenet100.py --workdir=runs/deit_s_imagenet100
With --config.evaluate.plan_candidates=200 it also plans a pruning of the same cost, which a run
with another workdir and --config.pruning.plan=runs/deit_s_imagenet100/plan.json fine-tunes with.
"""

from deit import fine_tuning


def get_config():
    config = fine_tuning("deit_small_patch16_224", "imagenet100", "train", "validation")
    # EViT's batch. The classes are among those that the weights were trained on, so a tenth of
    # DeiT's learning rate does, which keeps what they know.
    config.data.batch_size = 256
    config.train.learning_rate = 5e-5
    return config
