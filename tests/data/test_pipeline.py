import dataclasses
import itertools

import grain
import ml_collections
import numpy as np
import orbax.checkpoint as ocp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renyi_jax.data.pipeline import eval_loader, steps_per_epoch, train_loader
from renyi_jax.errors import UserError

BATCH = 8


@pytest.fixture(params=[False, True], ids=["records", "fresh_clutter"])
def options(data_config, request):
    return changed(data_config, fresh_clutter=request.param)


def changed(data_config, **fields):
    config = ml_collections.ConfigDict(data_config.to_dict())
    config.update(fields)
    return config


def train(dataset, options, **arguments):
    defaults = {"batch_size": BATCH, "image_size": 56, "seed": 0}
    return train_loader(dataset, options, **(defaults | arguments))


def take(iterator, count):
    return list(itertools.islice(iterator, count))


def assert_same_batches(left, right):
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def test_training_batches_have_the_promised_shapes(dataset, options):
    batch = next(train(dataset, options, image_size=(28, 42)))
    assert batch.keys() == {"image", "label", "index"}
    assert batch["image"].shape == (BATCH, 28, 42, 3) and batch["image"].dtype == np.uint8
    assert batch["label"].shape == (BATCH,) and batch["label"].dtype == np.int32


def test_an_epoch_has_each_example_at_most_once_and_another_order_than_the_next(dataset, options):
    steps = steps_per_epoch(dataset, BATCH)
    plain = changed(options, flip=False, fresh_clutter=False)
    batches = list(train(dataset, plain, num_epochs=2))
    assert len(batches) == 2 * steps == 2 * (60 // BATCH)
    images = np.concatenate([batch["image"] for batch in batches])
    epochs = [[image.tobytes() for image in half] for half in np.split(images, 2)]
    assert all(len(set(epoch)) == steps * BATCH for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_the_seed_decides_the_batches(dataset, options):
    first, same, other = (take(train(dataset, options, seed=seed), 3) for seed in (1, 1, 2))
    assert_same_batches(first, same)
    assert (first[0]["image"] != other[0]["image"]).any()


@pytest.mark.parametrize("process_count", [2, 4])
def test_global_batches_are_the_same_on_any_number_of_processes(dataset, options, process_count):
    alone = take(train(dataset, options), 10)
    parts = [
        take(train(dataset, options, process_index=p, process_count=process_count), 10)
        for p in range(process_count)
    ]
    together = [
        {key: np.concatenate([part[key] for part in step]) for key in step[0]}
        for step in zip(*parts, strict=True)
    ]
    assert_same_batches(alone, together)


def test_batches_are_the_same_on_two_workers_and_none(dataset, data_config):
    fresh = changed(data_config, fresh_clutter=True)
    workers = train(dataset, fresh, num_workers=2)
    assert_same_batches(take(train(dataset, fresh), 9), take(workers, 9))
    workers.close()


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 12), st.sampled_from([(1, 1), (1, 2), (2, 1)]))
def test_a_restored_iterator_goes_on_where_it_was(dataset, data_config, consumed, processes):
    fresh = changed(data_config, fresh_clutter=True)
    saved_on, restored_on = processes
    iterator = train(dataset, fresh, process_count=saved_on)
    take(iterator, consumed)
    state = iterator.get_state()
    expected = take(train(dataset, fresh, process_count=restored_on), consumed + 3)[consumed:]
    restored = train(dataset, fresh, process_count=restored_on)
    restored.set_state(state)
    assert_same_batches(take(restored, 3), expected)


def test_the_state_at_the_end_of_the_last_epoch_restores_to_the_end(dataset, options):
    iterator = train(dataset, options, num_epochs=1)
    list(iterator)
    restored = train(dataset, options, num_epochs=1)
    restored.set_state(iterator.get_state())
    assert list(restored) == []


def test_an_orbax_checkpoint_holds_the_iterator(dataset, options, tmp_path):
    iterator, restored = train(dataset, options), train(dataset, options)
    take(iterator, 5)
    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(5, args=ocp.args.Composite(data=grain.checkpoint.CheckpointSave(iterator)))
        manager.wait_until_finished()
        manager.restore(
            5, args=ocp.args.Composite(data=grain.checkpoint.CheckpointRestore(restored))
        )
    assert_same_batches(take(iterator, 3), take(restored, 3))


def test_fresh_clutter_shows_each_garment_on_another_canvas_every_epoch(dataset, data_config):
    fresh = changed(data_config, fresh_clutter=True)
    batches = train(dataset, fresh, num_epochs=4)
    canvases = [image.tobytes() for batch in batches for image in batch["image"]]
    assert len(set(canvases)) == len(canvases)


def test_without_clutter_only_the_garment_is_on_the_canvas(dataset, data_config):
    easy = changed(data_config, fresh_clutter=True, clutter=0, flip=False)
    garments = {image[image > 0].tobytes() for image in dataset.garments.images}
    for image in next(train(dataset, easy))["image"][..., 0]:
        assert image[image > 0].tobytes() in garments


def test_flip_mirrors_about_half_of_the_images(dataset, data_config):
    plain = take(train(dataset, changed(data_config, flip=False)), 50)
    flipped = take(train(dataset, changed(data_config, flip=True)), 50)
    changes = 0
    for a, b in zip(plain, flipped, strict=True):
        same = (a["image"] == b["image"]).all(axis=(1, 2, 3))
        mirrored = (a["image"][:, :, ::-1] == b["image"]).all(axis=(1, 2, 3))
        assert (same | mirrored).all()
        changes += mirrored.sum()
    assert 120 < changes < 280


def test_every_augmentation_is_the_same_on_two_workers_and_none(dataset, data_config):
    everything = changed(
        data_config,
        random_resized_crop=True,
        interpolation="random",
        rand_augment=9.0,
        color_jitter=0.4,
        random_erasing=0.5,
    )
    workers = train(dataset, everything, num_workers=2)
    alone = take(train(dataset, everything), 9)
    assert_same_batches(alone, take(workers, 9))
    workers.close()
    plain = take(train(dataset, data_config), 9)
    assert all((a["image"] != b["image"]).any() for a, b in zip(alone, plain, strict=True))


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([1, 2, 3]), st.integers(1, 9))
def test_evaluation_counts_each_example_once(dataset, process_count, rows):
    batch_size = rows * process_count
    parts = [
        list(
            eval_loader(
                dataset,
                batch_size=batch_size,
                image_size=56,
                process_index=process_index,
                process_count=process_count,
            )
        )
        for process_index in range(process_count)
    ]
    assert {batch["image"].shape[0] for part in parts for batch in part} == {rows}
    in_order = [batch for step in zip(*parts, strict=True) for batch in step]
    valid = np.concatenate([batch["valid"] for batch in in_order])
    for key in ("image", "label", "object_mask"):
        seen = np.concatenate([batch[key] for batch in in_order])[valid]
        np.testing.assert_array_equal(seen, [dataset.test[i][key] for i in range(23)])


def test_evaluation_resizes_the_image_smoothly_and_the_mask_to_the_nearest_pixel(dataset):
    batch = next(eval_loader(dataset, batch_size=4, image_size=112))
    assert batch["image"].shape == (4, 112, 112, 3)
    masks = np.stack([dataset.test[i]["object_mask"] for i in range(4)])
    np.testing.assert_array_equal(batch["object_mask"], masks.repeat(2, axis=1).repeat(2, axis=2))


def test_evaluation_crops_image_and_mask_alike_from_the_middle(dataset):
    batch = next(eval_loader(dataset, batch_size=4, image_size=28, crop_pct=0.5))
    for i in range(4):
        for key in ("image", "object_mask"):
            np.testing.assert_array_equal(batch[key][i], dataset.test[i][key][14:42, 14:42])


@pytest.mark.parametrize(
    "fields, arguments, message",
    [
        ({}, {"batch_size": 61}, "batch_size=61 is more than the 60 examples"),
        ({}, {"batch_size": 0}, "positive multiple of 1"),
        ({}, {"process_count": 3}, "positive multiple of 3"),
        ({}, {"seed": -1}, r"seed=-1 is out of range"),
    ],
)
def test_what_cannot_be_loaded_is_refused(dataset, data_config, fields, arguments, message):
    with pytest.raises(UserError, match=message):
        train(dataset, changed(data_config, **fields), **arguments)


def test_fresh_clutter_is_refused_where_there_are_no_garments(dataset, data_config):
    bare = dataclasses.replace(dataset, read_garments=None)
    with pytest.raises(UserError, match=r"Set config\.data\.fresh_clutter=False"):
        train(bare, changed(data_config, fresh_clutter=True))
