"""What the studies leave behind is put away."""

import pytest

from renyi_jax.pruning import CRITERIA


@pytest.fixture(autouse=True)
def only_published_criteria():
    """The plan `trials` adds criteria, of which other tests know nothing."""
    published = dict(CRITERIA)
    yield
    CRITERIA.clear()
    CRITERIA.update(published)
