"""DeiT-S with Rényi pruning on Oxford Flowers-102, as in arXiv 2604.03803: alpha 2, keep rate 0.7.

30 epochs; how long that takes on which chip has not been measured yet.
python -m renyi_jax.main --config=configs/deit_s_flowers102.py --workdir=runs/deit_s_flowers102
With --config.evaluate.plan_candidates=200 it also plans a pruning of the same cost, which a run
with another workdir and --config.pruning.plan=runs/deit_s_flowers102/plan.json fine-tunes with.
"""

from deit import fine_tuning


def get_config():
    config = fine_tuning("deit_small_patch16_224", "oxford_flowers102", "train+validation", "test")
    # With few images, small batches give the schedule its steps: about 900 of them.
    config.data.batch_size = 64
    return config
