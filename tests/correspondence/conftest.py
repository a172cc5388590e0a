"""Patience for random examples on busy machines, and photographs of smooth noise."""

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from scipy.ndimage import gaussian_filter

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture
def noise():
    """noise(height, width, seed): smooth coloured noise, H x W x 3 uint8."""

    def make(height, width, seed=0):
        draw = np.random.default_rng(seed)
        fine, coarse = (gaussian_filter(draw.normal(size=(height, width, 3)), (s, s, 0)) for s in (1, 6))
        both = fine / fine.std() + coarse / coarse.std()
        return np.clip(128 + 40 * both, 0, 255).astype(np.uint8)

    return make
