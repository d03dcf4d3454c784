"""Cells: what decides them, what is kept of them, and what damage does."""

import copy
import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest
from etils import epath
from tiny import tiny_dataset, tiny_model, tiny_spec

from renyi_jax.common.store import Store
from renyi_jax.config import default_config
from renyi_jax.evaluation.judging import judge
from renyi_jax.evaluation.programs import Programs, outcome_shapes
from renyi_jax.evaluation.run import Run, evaluate_runs
from renyi_jax.evaluation.timing import time_programs
from renyi_jax.pruning import PruningConfig

DATASET = tiny_dataset(11)
BASE = PruningConfig(blocks=(1, 2), keep_rate=0.5)
RANDOM = dataclasses.replace(BASE, criterion="random")
SETTINGS = [
    None,
    dataclasses.replace(BASE, alpha=0.5),
    dataclasses.replace(BASE, alpha=4.0),
    RANDOM,
]
SIZES = {"data": 1, "fsdp": 1, "tensor": 1}


def config_with(**changes):
    config = default_config()
    config.evaluate.batch_size = 4
    for group, fields in changes.items():
        config[group].update(fields)
    return config


PROGRAMS = Programs(tiny_model(), SIZES)


def cells_of(store, model=None, dataset=DATASET, config=None, seed=0, settings=SETTINGS, **options):
    model = model or tiny_model()
    programs = options.pop("programs", PROGRAMS)
    return judge(
        *(model, dataset, config or config_with(), settings, seed, store, programs), **options
    )


@pytest.fixture
def store(tmp_path):
    return Store(epath.Path(tmp_path / "cells"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A store, and the finished cells in it."""
    store = Store(epath.Path(tmp_path_factory.mktemp("kept")))
    return store, cells_of(store)


def equal(left, right):
    return all(np.array_equal(one, other) for one, other in zip(left, right, strict=True))


def test_finished_cells_are_found_again_as_they_were(kept):
    store, cells = kept
    found = cells_of(store, compute=False)
    assert all(equal(cell, again) for cell, again in zip(cells, found))


def test_the_arrays_of_a_cell_have_the_shapes_that_are_expected_of_them(kept):
    for setting, cell in zip(SETTINGS, kept[1]):
        shapes = outcome_shapes(setting)
        assert [each.shape for each in cell] == [(11, *shape.shape) for shape in shapes]
        assert [each.dtype for each in cell] == [shape.dtype for shape in shapes]


def test_a_seed_decides_what_is_drawn_and_nothing_else(kept):
    store, cells = kept
    missing = [cell is None for cell in cells_of(store, seed=1, compute=False)]
    assert missing == [False, False, False, True]
    other = cells_of(None, seed=1, settings=[RANDOM])[0]
    assert not equal(other, cells[3])
    assert equal(cells_of(store, seed=1, settings=[RANDOM])[0], other)


def with_records(change):
    """The data set with other records in its test split."""
    records = [copy.copy(record) for record in DATASET.test.source]
    change(records)
    test = copy.copy(DATASET.test)
    test.source = records
    return dataclasses.replace(DATASET, test=test)


def relabel(records):
    records[5]["label"] = (records[5]["label"] + 1) % 10


def swap(records):
    records[0], records[1] = records[1], records[0]


def repaint(records):
    records[3]["image"] = records[4]["image"]


@pytest.mark.parametrize("change", [relabel, swap, repaint])
def test_other_images_or_labels_are_other_cells_whatever_the_data_set_is_called(kept, change):
    found = cells_of(kept[0], dataset=with_records(change), compute=False)
    assert found == [None] * len(SETTINGS)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"dtype": "bfloat16"}},
        {"model": {"name": "deit_tiny_patch16_224"}},
        {"data": {"crop_pct": 0.5}},
        {"evaluate": {"batch_size": 5}},
    ],
    ids=str,
)
def test_what_decides_the_numbers_names_the_cell(kept, change):
    found = cells_of(kept[0], config=config_with(**change), compute=False)
    assert found == [None] * len(SETTINGS)


def test_other_weights_are_other_cells_and_the_same_weights_are_not(kept):
    store, _ = kept
    assert cells_of(store, tiny_model(seed=1), compute=False) == [None] * len(SETTINGS)
    assert None not in cells_of(store, tiny_model(RANDOM), compute=False)


def test_an_evaluation_goes_on_where_it_was_stopped(store, kept, count_compilations):
    cells_of(store, settings=SETTINGS[:1])
    with count_compilations() as compiled:
        cells = cells_of(store, programs=Programs(tiny_model(), SIZES))
    assert compiled.count("jit(evaluate)") == 2  # the entropy's program and the drawing one
    assert all(equal(cell, whole) for cell, whole in zip(cells, kept[1]))


def rewritten(path, change):
    """The file with its arrays changed by `change`."""
    with np.load(path) as held:
        arrays = dict(held)
    change(arrays)
    np.savez(path, **arrays)


def truncate(path):
    path.write_bytes(path.read_bytes()[:200])


def flip_bytes(path):
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 8] = bytes(byte ^ 0xFF for byte in data[middle : middle + 8])
    path.write_bytes(data)


def declare_huge(path):
    """An array that says it has 10^15 entries."""
    header = io.BytesIO()
    fields = {"descr": "<f4", "fortran_order": False, "shape": (10**15,)}
    np.lib.format.write_array_header_1_0(header, fields)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["nll.npy"] = header.getvalue() + bytes(44)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def bomb(path):
    rewritten(path, lambda arrays: arrays.update(nll=np.zeros(10**7, np.float32)))


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a cell\n"),
    "truncated": truncate,
    "flipped bytes": flip_bytes,
    "no nll": lambda path: rewritten(path, lambda arrays: arrays.pop("nll")),
    "nll in words": lambda path: rewritten(path, lambda a: a.update(nll=np.array(["a"] * 11))),
    "objects": lambda path: rewritten(path, lambda a: a.update(nll=np.array([None] * 11))),
    "too few images": lambda path: rewritten(path, lambda a: a.update(top1=a["top1"][:3])),
    "another type": lambda path: rewritten(path, lambda a: a.update(top1=a["nll"])),
    "another rank": lambda path: rewritten(path, lambda a: a.update(kept=a["nll"])),
    "another identity": lambda path: rewritten(path, lambda a: a.update(identity="{}")),
    "a huge shape": declare_huge,
    "a large array": bomb,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cell_is_computed_again_with_a_word(store, kept, tmp_path, caplog, damage):
    cells_of(store, settings=[RANDOM])
    (path,) = (tmp_path / "cells").iterdir()
    DAMAGE[damage](path)
    with caplog.at_level("WARNING", logger="absl"):
        (cell,) = cells_of(store, settings=[RANDOM])
    assert equal(cell, kept[1][3])
    assert f"{path} is damaged, and is computed again" in caplog.text
    assert equal(cells_of(store, settings=[RANDOM], compute=False)[0], cell)


def test_timings_are_kept_and_a_damaged_one_is_measured_again(store, tmp_path):
    arguments = (tiny_model(), DATASET, config_with(), SETTINGS, store, PROGRAMS)
    timings = time_programs(*arguments)
    assert len(timings) == 3 and timings[None].images_per_second > 0
    assert timings[None].images_per_second == timings[None].plain_images_per_second
    assert time_programs(*arguments) == timings
    for path in (tmp_path / "cells").iterdir():
        rewritten(path, lambda arrays: arrays.update(images_per_second=np.float64("nan")))
    again = time_programs(*arguments)
    assert all(timing.images_per_second > 0 for timing in again.values())


def test_three_seeds_of_a_random_criterion_are_three_draws_of_the_same_weights(tmp_path):
    model, runs = tiny_model(RANDOM), [Run("weights", seed) for seed in range(3)]
    store = Store(epath.Path(tmp_path))
    rows, by_run = evaluate_runs(DATASET, config_with(), runs, lambda _: model, store=store)
    accuracies = [run[0]["top1"] for run in by_run]
    assert len({run[0]["nll"] for run in by_run}) == 3
    assert rows[0]["num_runs"] == 3
    assert rows[0]["top1"] == pytest.approx(np.mean(accuracies))
    assert rows[0]["top1_std"] == pytest.approx(np.std(accuracies, ddof=1))
    assert (rows[1]["criterion"], rows[1]["num_runs"]) == ("none", 1)
    identities = []
    for path in tmp_path.iterdir():
        with np.load(path) as cell:
            identities.append(json.loads(str(cell["identity"])))
    seeds = [each["seed"] for each in identities if "seed" in each]
    assert sorted(seeds, key=str) == [0, 1, 2, None]  # none decides the unpruned model


def test_an_image_that_cannot_be_decoded_counts_in_no_number(store, kept):
    def breaks(records):
        records[4]["image"] = b"no image"

    dataset = with_records(breaks)
    for cells in (cells_of(store, dataset=dataset), cells_of(store, dataset=dataset)):
        for cell, whole in zip(cells[:3], kept[1]):  # what is drawn depends on the place
            assert len(cell.top1) == 10
            np.testing.assert_array_equal(cell.predicted, np.delete(whole.predicted, 4))


def test_logits_that_are_not_finite_count_as_wrong_and_are_told(caplog):
    model = tiny_model(BASE, tiny_spec())
    model.head.bias[...] = model.head.bias[...].at[3].set(np.nan)
    with caplog.at_level("WARNING", logger="absl"):
        rows = evaluate_runs(
            DATASET, config_with(), [Run("broken.safetensors", 0)], lambda _: model
        ).rows
    assert [row["top1"] for row in rows] == [0, 0] and [row["nll"] for row in rows] == [None, None]
    assert "the logits of up to 11 test images are not finite, under 2 of 2 prunings" in caplog.text
    json.dumps(rows, allow_nan=False)
