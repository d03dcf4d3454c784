from renyi_jax.errors import nearest


def test_the_nearest_name_is_offered_whatever_the_case():
    names = ["deit_small_patch16_224", "vit_tiny_patch16_224"]
    assert nearest("DeiT_smal_patch16_224", names) == " Did you mean 'deit_small_patch16_224'?"


def test_no_name_is_offered_where_none_is_near():
    assert nearest("resnet50", ["shannon", "renyi"]) == ""
