"""Adapts a pretrained ViT to a folder of your own images, pruned by Rényi entropy at keep rate 0.7.

The folder holds CLASS/*.jpg, of which a fifth is kept for testing, or train/CLASS/ and test/CLASS/.
75 photographs at 112 pixels and DINOv2-S took two minutes of processor time, all told.
python -m renyi_jax.main --config=configs/finetune_folder.py --config.data.manual_dir=photos \\
    --config.model.name=deit_small_patch16_224 --config.model.weights=deit_small.safetensors \\
    --workdir=runs/photos

The head is fitted to the frozen features first, then all weights are fine-tuned by the defaults for
given weights, until the accuracy on the test images has not risen for five epochs. The best weights
of all epochs are kept; since the test images chose them, their accuracy is a little flattering.
"""

from renyi_jax.config import default_config


def get_config():
    config = default_config()
    config.model.name = "deit_small_patch16_224"
    config.model.weights = "hf_hub:timm/deit_small_patch16_224.fb_in1k"

    config.pruning.criterion = "renyi"
    config.pruning.alpha = 2.0
    config.pruning.keep_rate = 0.7

    config.data.name = "image_folder"
    # Mild: the features are good already. Where left and right have a meaning, as in writing, set
    # --config.data.flip=False.
    config.data.random_resized_crop = True
    config.data.crop_scale = (0.5, 1.0)
    config.data.flip = True
    # Small, so that a few images make a few steps an epoch.
    config.data.batch_size = 16

    config.train.probe = True
    config.train.epochs = 30
    config.train.patience = 5
    config.train.log_every_steps = 10

    config.evaluate.batch_size = 32
    config.evaluate.keep_rates = (1.0, 0.7, 0.5)
    return config
