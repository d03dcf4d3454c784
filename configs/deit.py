"""What the `deit_*` configs have in common: fine-tuning a DeiT with Rényi pruning.

The recipe is DeiT's (Touvron et al. 2021, arXiv 2012.12877, table 9), where nothing else is said,
at EViT's length (Liang et al. 2022, arXiv 2202.07800): 30 epochs from ImageNet-1k weights.
"""

from renyi_jax.config import default_config


def fine_tuning(model, dataset, train_split, test_split):
    config = default_config()
    config.model.name = model
    config.model.weights = f"hf_hub:timm/{model}.fb_in1k"
    config.model.dtype = "bfloat16"
    config.model.drop_path_rate = 0.1

    config.pruning.criterion = "renyi"
    config.pruning.alpha = 2.0
    config.pruning.keep_rate = 0.7
    config.pruning.blocks = (4, 7, 10)

    config.data.name = dataset
    config.data.train_split = train_split
    config.data.test_split = test_split
    config.data.random_resized_crop = True
    config.data.flip = True
    config.data.rand_augment = 9.0
    config.data.random_erasing = 0.25
    config.data.mixup = 0.8
    config.data.cutmix = 1.0
    config.data.num_workers = 8

    config.train.epochs = 30
    config.train.warmup_epochs = 5
    config.train.learning_rate = 5e-4
    config.train.base_batch_size = 512
    config.train.final_learning_rate = 0.02  # 1e-5 of 5e-4
    config.train.weight_decay = 0.05
    config.train.label_smoothing = 0.1
    # As ViT was fine-tuned (Dosovitskiy et al. 2021, arXiv 2010.11929, section B.1.1): the head is
    # new, so the first gradients are long.
    config.train.clip_norm = 1.0

    config.evaluate.batch_size = 256
    config.evaluate.keep_rates = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
    config.evaluate.alphas = (0.5, 1.0, 2.0, 4.0, float("inf"))
    config.evaluate.criteria = ("renyi", "cls_attention", "random")
    return config
