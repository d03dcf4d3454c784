"""Every field that a config may have, and what it may hold.

`FIELDS` is the table: its defaults make `default_config`, from which the files in `configs/` start,
and its rules make `check_config`.
"""

from typing import Any

import ml_collections

from renyi_jax.common.fields import (
    MAX_BATCH,
    MAX_CLASSES,
    Field,
    flag,
    image_size,
    integer,
    number,
    one_of,
    per_block,
    several,
    span,
    text,
)
from renyi_jax.images import INTERPOLATIONS
from renyi_jax.models.registry import DTYPES, MODELS
from renyi_jax.models.vit import REMATERIALIZATIONS
from renyi_jax.pruning import OPTIONS
from renyi_jax.pruning.config import BLOCKS

# An ml_collections.ConfigDict: its attributes have no types that could be checked.
Config = Any

FIELDS: dict[str, Field | dict[str, Field]] = {
    # Decides the initial weights, the order of the data, their augmentation, and dropout.
    "seed": integer(0, at_least=0),
    "model": {
        "name": one_of("vit_nano_patch4_56", MODELS, tagged=True),
        # A file or name that load_weights takes; "" starts from random weights.
        "weights": text(""),
        # Which of them, where a training checkpoint holds several; "" is their moving average.
        "state": text(""),
        # 0 takes as many as the data set has.
        "num_classes": integer(0, at_least=0, at_most=MAX_CLASSES),
        # 0 is the model's own.
        "image_size": image_size(),
        "dtype": one_of("float32", DTYPES),
        "drop_path_rate": number(0.0, "[0, 1)"),
        "dropout_rate": number(0.0, "[0, 1)"),
        # The share of the patches that each training step drops at random, before block 1.
        "patch_drop_rate": number(0.0, "[0, 1)"),
        # Patches of one colour before any other: a fast start on images with an empty background.
        "plain_patches_first": flag(False),
        # What the backward pass computes again rather than keep in memory.
        "remat": one_of("none", REMATERIALIZATIONS, decides=False),
    },
    # As in PruningConfig, whose options have their help there; keep_rate=1.0 is the plain model.
    "pruning": {
        # A file of renyi_jax.plan, which takes the place of all fields below.
        "plan": text(""),
        "blocks": several(BLOCKS, integer(1, at_least=1)),
        **{name: per_block(option.field) for name, option in OPTIONS.items()},
    },
    "data": {
        "name": text("cluttered_fashion_mnist"),
        # A variant that the data set's builder offers; "" takes its default.
        "builder_config": text(""),
        # Where prepared data lie; "" is ~/.cache/renyi_jax/data.
        "data_dir": text("", decides=False),
        # A folder of archives that the user brought, for data sets that cannot be downloaded.
        "manual_dir": text("", decides=False),
        "train_split": text("train"),
        "test_split": text("test", decides=False),
        # Of each class of a folder that has no test split, the share that is kept for testing.
        "test_share": number(0.2, "[0, 1]"),
        # Of all processes together.
        "batch_size": integer(128, at_least=1, at_most=MAX_BATCH),
        # Processes that prepare batches; 0 takes threads of this process.
        "num_workers": integer(0, at_least=0, at_most=1024, decides=False),
        # Compose a new cluttered canvas at each visit of a garment, of `clutter` fragments.
        "fresh_clutter": flag(False),
        "clutter": integer(8, at_least=0, at_most=1000),
        # Train on a random part of each image, of so much of its area, and so much wider than high;
        # otherwise on its middle.
        "random_resized_crop": flag(False),
        "crop_scale": span((0.08, 1.0), number(1.0, "(0, 1]")),
        "crop_ratio": span((3 / 4, 4 / 3), number(1.0, "(0, inf)")),
        # Of random crops, and of the operations of RandAugment that move pixels.
        "interpolation": one_of("bicubic", INTERPOLATIONS),
        # Mirror every second image.
        "flip": flag(False),
        # RandAugment of this magnitude; 0 is none. At 9 it is timm's rand-m9-mstd0.5-inc1.
        "rand_augment": number(0.0, "[0, 10]"),
        "rand_augment_std": number(0.5, "[0, inf)"),
        "rand_augment_layers": integer(2, at_least=1, at_most=100),
        # Change brightness, contrast and saturation by up to this share; 0 is none.
        "color_jitter": number(0.0, "[0, inf)"),
        # Probability with which a rectangle of an image gives way to noise.
        "random_erasing": number(0.0, "[0, 1]"),
        # Mix each image of a batch with another, and their labels alike: all of it (mixup) or a
        # rectangle (CutMix), by shares that are drawn from Beta(x, x); 0 is none.
        "mixup": number(0.0, "[0, inf)"),
        "cutmix": number(0.0, "[0, inf)"),
        # Probability with which a batch is mixed at all, and then by CutMix if both are on.
        "mix_probability": number(1.0, "[0, 1]"),
        "cutmix_probability": number(0.5, "[0, 1]"),
        # Share of an image's shorter side that evaluation crops from its middle; 0 is the model's.
        "crop_pct": number(0.0, "[0, 1]", decides=False),
    },
    "train": {
        # 0 evaluates the weights as they are, or with the head of `probe`.
        "epochs": integer(10, at_least=0),
        # The highest, after the warm-up. Pretrained weights take small steps: 1e-5 in DeiT III
        # (Touvron et al. 2022, arXiv 2204.07118). 5e-5 was compared with 1e-3 here, no more.
        "learning_rate": number(1e-3, "(0, inf)", pretrained=5e-5),
        # With a number here, the highest learning rate is
        # learning_rate * data.batch_size / base_batch_size; 0 takes learning_rate as it is.
        "base_batch_size": integer(0, at_least=0),
        # Up from 0 in a straight line, over so many epochs; then down along half a cosine wave.
        "warmup_epochs": number(
            0.0, "[0, inf)", pretrained=lambda config: config["train"]["epochs"] / 10
        ),
        # What the cosine ends at, as a share of the highest learning rate.
        "final_learning_rate": number(0.0, "[0, 1]"),
        "b1": number(0.9, "[0, 1)"),
        "b2": number(0.999, "[0, 1)"),
        # Of matrices only: not of biases, norms, LayerScale, tokens and positional embeddings.
        "weight_decay": number(0.05, "[0, inf)"),
        # Longest gradient, all parameters taken together; inf clips nothing.
        "clip_norm": number(1.0, "(0, inf]"),
        "label_smoothing": number(0.1, "[0, 1)"),
        # Take each batch in so many parts, one after the other, in a fraction of the memory.
        "accumulate_steps": integer(1, at_least=1),
        # Evaluate and keep a moving average of the weights, with this decay; 0 is none.
        "ema_decay": number(0.0, "[0, 1)"),
        # Each block learns by this share of the rate of the next one; 1 treats all alike.
        "layer_decay": number(1.0, "(0, 1]"),
        # Fit the head to the frozen features of the unaugmented training images first.
        "probe": flag(False),
        # Adds so many times the mean attention entropy (nats) of these blocks to the loss: more
        # than 0 sharpens attention, less than 0 spreads it.
        "entropy_weight": number(0.0, "(-inf, inf)"),
        "entropy_alpha": number(2.0, "(0, inf]"),
        "entropy_blocks": several((4, 7, 10), integer(1, at_least=1)),
        # The keep rate falls from 1 to its target over so many epochs, in so many levels, each of
        # which is compiled once; 0 epochs start at the target.
        "keep_rate_epochs": number(0.0, "[0, inf)"),
        "keep_rate_levels": integer(4, at_least=1, at_most=1000),
        "log_every_steps": integer(50, at_least=1, decides=False),
        # Top-1 on the test split after every so many epochs, on so many batches; 0 is never, and
        # all batches.
        "evaluate_every_epochs": integer(1, at_least=0, decides=False),
        "evaluate_batches": integer(0, at_least=0, decides=False),
        # End once that top-1 has not risen for so many epochs, and keep the best weights; 0 makes
        # all epochs and keeps the last weights.
        "patience": integer(0, at_least=0),
    },
    # What is measured after training, without training again, beside the trained pruning: every
    # combination of these; where one is empty, with the trained pruning's own value. What differs
    # from block to block is a tuple, or values with slashes between: "renyi/renyi/cls_attention".
    "evaluate": {
        "batch_size": integer(100, at_least=1, at_most=MAX_BATCH, decides=False),
        # Prunings to try for a plan that costs what the trained one does, chosen on training
        # images; it is evaluated beside. 0 makes none.
        "plan_candidates": integer(0, at_least=0, at_most=100_000, decides=False),
        **{
            option.sweep: several((), per_block(option.field), decides=False)
            for option in OPTIONS.values()
            if option.sweep
        },
        "blocks": several((), several((), integer(1, at_least=1), ",/"), decides=False),
    },
    # Devices on each axis, over all processes; -1 is those that the others leave.
    "mesh": {
        "data": integer(-1, at_least=-1, at_most=2**20, decides=False),
        "fsdp": integer(1, at_least=-1, at_most=2**20, decides=False),
        "tensor": integer(1, at_least=-1, at_most=2**20, decides=False),
    },
    "checkpoint": {
        # 0 is at the end of every epoch.
        "every_steps": integer(0, at_least=0, decides=False),
        # Also once so many minutes have passed; 0 is never.
        "every_minutes": number(0.0, "[0, inf)", decides=False),
        # How many of the latest stay on disk, and how many of the best on test images.
        "keep": integer(2, at_least=1, decides=False),
        "keep_best": integer(1, at_least=0, decides=False),
        # What follows when one cannot be written, as on a full disk.
        "on_failure": one_of("stop", ("stop", "continue"), decides=False),
    },
}


def default_config() -> Config:
    """Returns a config with every field at its default.

    A field whose default depends on `model.weights` is None until `check_config` fills it in. Any
    value can be set; `check_config` tells what is wrong. Fields that are not strings are read from
    the command line as Python literals, so that a number can give way to a tuple.
    """

    def leaf(field: Field) -> Any:
        if isinstance(field.default, str):
            return field.default
        default = field.default if field.pretrained is None else None
        return ml_collections.FieldReference(default, field_type=object)

    def node(fields: dict[str, Any]) -> ml_collections.ConfigDict:
        config = ml_collections.ConfigDict(type_safe=False)
        for name, field in fields.items():
            config[name] = node(field) if isinstance(field, dict) else leaf(field)
        return config

    return node(FIELDS)
