import dataclasses

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from parity import KINDS, build, tiny_spec

from renyi_jax.models import MODELS
from renyi_jax.models.compatibility import expected_shapes
from renyi_jax.models.registry import model_spec
from renyi_jax.models.weights import to_timm
from renyi_jax.weights.names import NAMES, PATCHES, split_block, timm_name


def test_every_row_is_a_parameter_of_some_model_and_every_parameter_has_a_row():
    specs = [*MODELS.values(), *(tiny.tiny_spec(**parts) for parts in tiny.PARTS.values())]
    specs = [dataclasses.replace(spec, renamed=()) for spec in specs]
    names = {split_block(name)[0] for spec in specs for name in expected_shapes(spec)}
    assert names == {timm for timm, _ in NAMES.values()}


@pytest.mark.parametrize("kind", KINDS)
def test_expected_shapes_are_those_of_the_model_that_is_built(kind):
    spec = tiny_spec(kind)
    shapes = {name: array.shape for name, array in to_timm(build(spec)).items()}
    assert expected_shapes(spec) == shapes


@given(st.integers(1, 5), st.integers(1, 6))
def test_patches_become_a_convolution_and_come_back(side, width):
    kernel = np.arange(side * side * 3 * width).reshape(side * side * 3, width)
    weight = PATCHES.to_timm(kernel)
    assert weight.shape == (width, 3, side, side)
    np.testing.assert_array_equal(PATCHES.to_ours(weight), kernel)


def test_a_dense_kernel_is_the_transposed_weight_and_a_norm_keeps_its_scale():
    name, layout = timm_name("blocks.11.attn.qkv.kernel")
    assert name == "blocks.11.attn.qkv.weight"
    assert layout.to_ours(np.zeros((6, 2))).shape == (2, 6)
    name, layout = timm_name("blocks.0.norm1.scale")
    assert name == "blocks.0.norm1.weight"
    assert layout.to_ours(np.zeros(3)).shape == (3,)


@pytest.mark.parametrize("name", MODELS)
def test_a_spec_keeps_its_name_at_another_size_and_number_of_classes(name):
    size = (2 * MODELS[name].patch_size, MODELS[name].patch_size)
    assert model_spec(f"{name}.a_tag", image_size=size, num_classes=3).name == name


def test_a_spec_that_is_not_in_the_registry_has_no_name():
    assert tiny_spec("plain").name is None
