"""Areas of the segments of a map, by the fastest means there are.

In: an array of ids. Out: the pixels of each id.
"""

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.backends import choose_backend
from panoptic_deeplab.structures import count_ids


def measure_areas(segment_map: NDArray[np.int32]) -> dict[int, int]:
    """Count the pixels of each id of an (H, W) map, void included, as `count_ids` does.

    Example:
        >>> measure_areas(np.array([[0, 7, 7], [0, 7, 3]], np.int32))
        {0: 2, 3: 1, 7: 3}
    """
    if choose_backend("auto", ("plain",)) == "numba":
        from panoptic_deeplab.kernels.joint import count_pairs

        flat = segment_map.reshape(-1)
        found = count_pairs(flat, flat)
        if found is not None:  # no id is negative
            return dict(zip((found[0] >> 32).tolist(), found[1].tolist(), strict=True))
    return count_ids(segment_map)
