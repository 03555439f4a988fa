"""The models that generation is tested on."""

import pytest
from generation_models import FAMILIES


@pytest.fixture(params=FAMILIES, ids=lambda make: make.__name__)
def model(request):
    return request.param()
