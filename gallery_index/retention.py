"""Which entries have been kept long enough, by the time of their capture. Erases nothing itself."""

from datetime import datetime, timedelta

from gallery_index.table.entry_table import EntryTable


def expired(table: EntryTable, now: datetime, days: int) -> list[int]:
    """Return the rows whose capture lies more than `days` days before `now`, ascending.

    An entry without a capture time never expires: when it was enrolled says nothing of its age.
    Raises: ValueError for less than one day.
    """
    if days < 1:
        raise ValueError(f"days: expected at least 1, got {days}")
    try:
        limit = now - timedelta(days=days)
    except OverflowError:  # before the calendar begins
        return []
    return table.captured_before(limit)
