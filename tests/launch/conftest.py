import pytest
from fake_programs import FakePrograms


@pytest.fixture
def fake_programs(tmp_path):
    return FakePrograms(tmp_path)
