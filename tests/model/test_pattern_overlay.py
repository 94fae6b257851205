"""Pattern maps over crops: nothing where the map is zero, red where it peaks."""

import numpy as np
from PIL import Image

from model.pattern_overlay import overlay


def crop() -> Image.Image:
    """Noise in all colours, 48x128."""
    pixels = np.random.default_rng(0).integers(0, 256, (128, 48, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_a_map_of_zeros_leaves_the_crop_as_it_is() -> None:
    laid = overlay(crop(), np.zeros((8, 3), np.float32))
    np.testing.assert_array_equal(np.asarray(laid), np.asarray(crop()))


def test_a_peak_reddens_its_place_only() -> None:
    pattern = np.zeros((8, 3), np.float32)
    pattern[1, 2] = 1.0  # cells of 16x16 pixels: rows 16 to 32, columns 32 to 48
    before, after = (np.asarray(image, dtype=int) for image in (crop(), overlay(crop(), pattern)))
    peak = after[24, 40]
    # Three quarters of (255, 32, 0), one of what was there.
    np.testing.assert_allclose(peak, 0.25 * before[24, 40] + [191.25, 24, 0], atol=9)
    # A bilinear peak reaches one cell further; beyond that nothing changes.
    np.testing.assert_array_equal(after[48:], before[48:])
    np.testing.assert_array_equal(after[:, :16], before[:, :16])


def test_a_map_of_ones_covers_everything_alike() -> None:
    laid = np.asarray(overlay(Image.new("RGB", (10, 20)), np.ones((2, 1), np.float32)))
    assert (laid == [191, 24, 0]).all()
