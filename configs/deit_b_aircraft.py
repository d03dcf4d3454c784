"""DeiT-B with Rényi pruning on FGVC-Aircraft, as in arXiv 2604.03803: alpha 2, keep rate 0.7.

30 epochs; how long that takes on which chip has not been measured yet.
python -m renyi_jax.main --config=configs/deit_b_aircraft.py --workdir=runs/deit_b_aircraft
With --config.evaluate.plan_candidates=200 it also plans a pruning of the same cost, which a run
with another workdir and --config.pruning.plan=runs/deit_b_aircraft/plan.json fine-tunes with.
"""

from deit import fine_tuning


def get_config():
    config = fine_tuning("deit_base_patch16_224", "fgvc_aircraft", "trainval", "test")
    # With few images, small batches give the schedule its steps: about 3,100 of them.
    config.data.batch_size = 64
    return config
