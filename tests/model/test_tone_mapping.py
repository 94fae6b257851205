"""Deep images become 8-bit grey by the rules of `depth-v1`, and by no other."""

import numpy as np
import pytest
from numpy.typing import NDArray

from model.errors import UndecodableImageError
from model.tone_mapping import tone_map

RAMP = np.linspace(0, 255, 4000).round().astype(np.uint8).reshape(80, 50)


def deep(values: NDArray[np.float64]) -> NDArray[np.uint16]:
    return values.astype(np.uint16)


@pytest.mark.parametrize("factor", [257, 256])
def test_a_widened_8_bit_image_gets_its_own_bits_back(factor: int) -> None:
    np.testing.assert_array_equal(tone_map(RAMP.astype(np.uint16) * factor), RAMP)
    dark = RAMP // 20  # a dark image stays dark: what matters is where the bits came from
    np.testing.assert_array_equal(tone_map(dark.astype(np.uint16) * factor), dark)


def test_an_8_bit_image_in_a_deep_file_is_kept() -> None:
    np.testing.assert_array_equal(tone_map(RAMP.astype(np.uint16)), RAMP)
    np.testing.assert_array_equal(tone_map(RAMP.astype(np.int32)), RAMP)
    np.testing.assert_array_equal(tone_map(RAMP.astype(np.float32)), RAMP)
    bright = RAMP // 8 + 200  # no stretching: the same image in an 8-bit file is not stretched
    np.testing.assert_array_equal(tone_map(bright.astype(np.uint16)), bright)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_a_sensor_of_any_depth_is_linear_from_zero_to_its_full_scale(bits: int) -> None:
    full = 2**bits - 1
    values = deep(np.linspace(0, full, 4001)).reshape(-1, 1)
    expected = np.rint(values.astype(np.float64) * 255 / full)
    np.testing.assert_array_equal(tone_map(values), expected)
    assert tone_map(values)[0, 0] == 0
    assert tone_map(values)[-1, 0] == 255


def test_a_few_hot_pixels_neither_darken_the_image_nor_wrap() -> None:
    values = deep(np.linspace(0, 1023, 20_000)).reshape(100, 200)
    expected = tone_map(values)
    values[0, :10] = 65535
    mapped = tone_map(values)
    assert (mapped[0, :10] == 255).all()
    np.testing.assert_array_equal(mapped[1:], expected[1:])


def test_a_radiometric_image_is_stretched_between_its_percentiles() -> None:
    kelvin_centi = deep(np.linspace(29_000, 31_000, 10_001)).reshape(-1, 1)  # 17 to 37 degrees
    mapped = tone_map(kelvin_centi)
    assert mapped[0, 0] == 0
    assert mapped[-1, 0] == 255
    assert mapped[5000, 0] in (127, 128)
    low, high = 29_020, 30_980  # 1st and 99th percentile of an even ramp
    assert mapped[100, 0] == 0
    expected = (29_500 - low) * 255 / (high - low)
    assert abs(mapped[2500, 0] - expected) <= 1


def test_a_constant_radiometric_image_is_grey() -> None:
    assert (tone_map(np.full((9, 9), 30_000, np.uint16)) == 128).all()


def test_floats_up_to_one_are_a_unit_range() -> None:
    np.testing.assert_array_equal(tone_map(RAMP.astype(np.float32) / 255), RAMP)


def test_values_without_a_natural_zero_are_stretched() -> None:
    celsius = np.linspace(-10.0, 40.0, 5001, dtype=np.float32).reshape(-1, 1)
    mapped = tone_map(celsius)
    assert mapped[0, 0] == 0
    assert mapped[-1, 0] == 255
    assert mapped[2500, 0] in (127, 128)
    beyond = tone_map(np.linspace(0, 1_000_000, 5001).astype(np.int32).reshape(-1, 1))
    assert beyond[-1, 0] == 255
    assert beyond[2500, 0] in (127, 128)


def test_what_is_not_a_number_is_black_and_spoils_no_other_value() -> None:
    values = RAMP.astype(np.float32)
    values[0, :3] = (np.nan, -np.inf, np.inf)
    mapped = tone_map(values)
    assert mapped[0, :3].tolist() == [0, 0, 255]
    np.testing.assert_array_equal(mapped[1:], RAMP[1:])
    with pytest.raises(UndecodableImageError, match="no finite value"):
        tone_map(np.full((9, 9), np.nan, np.float32))


@pytest.mark.parametrize("dtype", [">u2", "<u2"])
def test_byte_order_does_not_matter(dtype: str) -> None:
    values = (RAMP.astype(np.uint16) * 13).astype(dtype)
    np.testing.assert_array_equal(tone_map(values), tone_map(RAMP.astype(np.uint16) * 13))
