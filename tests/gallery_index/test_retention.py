"""Which entries have been kept long enough."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from gallery_index.records import GalleryEntry
from gallery_index.retention import expired
from gallery_index.table.entry_table import EntryTable

NOW = datetime(2026, 7, 31, 12, 0, 0, tzinfo=UTC)
AN_ENTRY = GalleryEntry(
    entry_id="e",
    person_id=None,
    camera_id=None,
    modality="visible",
    captured_at=None,
    attributes={},
    model_id="m",
    crop_sha256="0" * 64,
    media_type="image/png",
    enrolled_at=datetime(2020, 1, 1, tzinfo=UTC),
    row=0,
)


def table_of(*captured: datetime | None) -> EntryTable:
    """A table of entries captured then, in the order of their rows."""
    table = EntryTable()
    for row, time in enumerate(captured):
        table.put(replace(AN_ENTRY, entry_id=f"e{row}", row=row, captured_at=time))
    return table


def test_what_was_captured_more_than_the_days_ago_expires() -> None:
    a_month_ago = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC)
    moment = timedelta(microseconds=1)
    table = table_of(a_month_ago - moment, a_month_ago, NOW, datetime(1971, 1, 1, tzinfo=UTC))
    assert list(expired(table, NOW, 30)) == [0, 3]


def test_what_has_no_capture_time_never_expires() -> None:
    assert list(expired(table_of(None, None), NOW, 1)) == []


def test_what_is_captured_in_the_future_stays() -> None:
    assert list(expired(table_of(NOW + timedelta(days=400)), NOW, 1)) == []


def test_the_hour_counts_wherever_the_clock_stands() -> None:
    there = timezone(timedelta(hours=9))
    table = table_of(NOW - timedelta(days=2, seconds=1), NOW - timedelta(days=2))
    assert list(expired(table, NOW.astimezone(there), 2)) == [0]


def test_a_deleted_entry_does_not_expire_again() -> None:
    table = table_of(datetime(2000, 1, 1, tzinfo=UTC))
    table.remove(table.at(0))
    assert list(expired(table, NOW, 1)) == []


def test_more_days_than_the_calendar_has_keep_everything() -> None:
    table = table_of(datetime(1, 1, 1, tzinfo=UTC))
    assert list(expired(table, NOW, 10**9)) == []


@pytest.mark.parametrize("days", [0, -1])
def test_less_than_a_day_is_refused(days: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1, got {days}"):
        expired(table_of(), NOW, days)
