"""Whether one entry passes a filter: the meaning of `EntryFilter`, entry by entry.

For whoever has no table of all entries: what an index offers is checked against its record here.
"""

from gallery_index.records import EntryFilter, GalleryEntry, JsonValue, Names


def passes(entry: GalleryEntry, wanted: EntryFilter) -> bool:
    """Whether an entry takes part."""
    when = entry.captured_at
    after, before = wanted.captured_after, wanted.captured_before
    return (
        _is_named(entry.person_id, wanted.person_id)
        and _is_named(entry.camera_id, wanted.camera_id)
        and entry.person_id not in names(wanted.exclude_person_id)
        and entry.camera_id not in names(wanted.exclude_camera_id)
        and (wanted.modality is None or entry.modality == wanted.modality)
        and (after is None or (when is not None and when >= after))
        and (before is None or (when is not None and when < before))
        and all(
            name in entry.attributes and same_json(entry.attributes[name], value)
            for name, value in wanted.attributes.items()
        )
    )


def names(wanted: Names | None) -> tuple[str, ...]:
    """Return what is named: nothing, one name or several."""
    if wanted is None:
        return ()
    return (wanted,) if isinstance(wanted, str) else wanted


def same_json(one: JsonValue, other: JsonValue) -> bool:
    """Whether two values are one in JSON: 1 is 1.0, but neither is true."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _is_named(name: str | None, wanted: Names | None) -> bool:
    return wanted is None or (name is not None and name in names(wanted))
