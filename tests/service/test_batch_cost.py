"""What a batch should hold: learned from batches whose cost is known exactly here."""

import pytest

from service.engine.batch_cost import BatchCost


def learned(base_s: float, crop_s: float, sizes: list[int]) -> BatchCost:
    cost = BatchCost()
    for size in sizes:
        cost.observe(size, base_s + crop_s * size)
    return cost


def test_nothing_is_known_at_first_and_nothing_held_back() -> None:
    cost = BatchCost()
    assert cost.best_size(32, 0.1) == 32
    assert cost.seconds(8) == 0


def test_a_line_through_batches_is_found() -> None:
    cost = learned(0.010, 0.002, [1, 4, 8, 16])
    assert cost.seconds(32) == pytest.approx(0.010 + 0.064)
    assert cost.per_crop_s(10) == pytest.approx(0.003)


def test_one_slow_batch_at_the_start_is_not_what_a_crop_costs() -> None:
    cost = learned(1.0, 0.0, [1, 1])
    assert cost.per_crop_s(1) == 0
    cost.observe(1, 1.0)
    assert cost.per_crop_s(1) == pytest.approx(1.0)


def test_crops_that_gain_nothing_from_company_go_in_small_batches() -> None:
    cost = learned(0.0, 0.030, [1, 2, 8, 4])
    assert cost.best_size(32, 0.1) == 3  # 0.1 s of 30 ms each


def test_a_costly_start_is_shared_by_a_large_batch_whatever_it_takes() -> None:
    cost = learned(0.080, 0.004, [1, 2, 4, 8])
    assert cost.best_size(256, 0.1) == 80  # 80 % of full speed: 4 x 80 ms / 4 ms, 0.4 s
    assert cost.best_size(32, 0.1) == 32


def test_batches_of_one_size_tell_nothing_of_others_so_a_larger_one_is_tried() -> None:
    cost = learned(0.150, 0.001, [1] * 100)
    assert cost.best_size(32, 0.1) == 2
    cost.observe(2, 0.152)
    assert cost.best_size(32, 0.1) == 32


def test_the_old_fades_away() -> None:
    cost = learned(0.0, 0.030, [1, 2, 3, 4] * 10)
    for size in [1, 2, 3, 4] * 50:
        cost.observe(size, 0.001 * size)
    assert cost.best_size(64, 0.1) == 64


def test_a_line_that_noise_turns_down_costs_nobody_anything_below_zero() -> None:
    cost = BatchCost()
    cost.observe(1, 0.050)
    cost.observe(8, 0.010)
    assert cost.seconds(100) > 0
    assert cost.best_size(32, 0.1) == 32


def test_whoever_others_wait_for_begins_with_one_crop_and_doubles() -> None:
    cost, sizes = BatchCost(), []
    for _ in range(6):
        sizes.append(cost.size_within(32, 0.1))
        cost.observe(sizes[-1], 0.010 + 0.001 * sizes[-1])
    assert sizes == [1, 2, 4, 8, 16, 32]


def test_whoever_others_wait_for_stays_within_the_target_even_if_it_does_not_pay() -> None:
    cost = learned(0.080, 0.004, [1, 2, 4, 8])
    assert cost.best_size(32, 0.1) == 32
    assert cost.size_within(32, 0.1) == 5  # 80 ms and 5 x 4 ms
    assert cost.size_within(32, 0.01) == 1


def test_a_crop_that_takes_the_whole_target_goes_alone_and_rarely_in_company() -> None:
    cost, sizes = BatchCost(), []
    for _ in range(502):
        sizes.append(cost.size_within(32, 0.03))
        cost.observe(sizes[-1], 0.020 * sizes[-1])
    assert sizes[:250] == [1] * 250
    assert sizes.count(2) == 2
    assert sizes.count(1) == 500


def test_company_that_turns_out_to_be_cheap_is_kept() -> None:
    cost, sizes = BatchCost(), []
    for _ in range(600):
        sizes.append(cost.size_within(32, 0.031))
        cost.observe(sizes[-1], 0.015 + 0.005 * sizes[-1])
    assert sizes[-1] == 3  # 15 ms and 3 x 5 ms
