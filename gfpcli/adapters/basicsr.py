"""basicsr's blur kernels, without its global random state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfpcli.adapters._compat import prepare_basicsr

prepare_basicsr()

from basicsr.data.degradations import bivariate_Gaussian  # noqa: E402  (only after the preparation above)


def gaussian_kernel(size: int, sigma_x: float, sigma_y: float, theta: float) -> NDArray[np.float64]:
    """A (size, size) Gaussian of sum 1; isotropic where both sigmas (px) are equal; theta in radians."""
    is_isotropic = sigma_x == sigma_y
    kernel = bivariate_Gaussian(size, sigma_x, sigma_y, theta, isotropic=is_isotropic)
    return np.asarray(kernel, np.float64)
