"""The attributes of entries as interned JSON texts, and which of them have a key at a value."""

import json
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gallery_index.records import JsonScalar, JsonValue
from gallery_index.table.indexed_texts import IndexedTexts
from gallery_index.table.interned_texts import NO_TEXT, InternedTexts
from gallery_index.table.sorted_multimap import SortedMultimap
from gallery_index.table.text_hash import TextHash

_BLOCK: Final = 16_384


def encode_attributes(attributes: Mapping[str, JsonValue]) -> str | None:
    """Return attributes as JSON text; None where there are none."""
    return json.dumps(attributes, separators=(",", ":")) if attributes else None


def decode_attributes(text: str | None) -> dict[str, Any]:
    """Return the attributes of a text."""
    return {} if text is None else json.loads(text)


class AttributeTexts(InternedTexts):
    """Interned attributes, searched through postings that the first such search makes."""

    def __init__(
        self,
        text_hash: TextHash,
        texts: IndexedTexts | None = None,
        counts: NDArray[np.integer[Any]] | None = None,
    ) -> None:
        """Begin as interned texts do."""
        super().__init__(text_hash, texts, counts)
        self._postings: _Postings | None = None
        self._making = Lock()

    def matching(self, wanted: Mapping[str, JsonScalar]) -> NDArray[np.int32]:
        """Return the codes of attributes that have every key at its value."""
        with self._making:  # readers come together
            if self._postings is None:
                self._postings = self._new_postings()
        return self._postings.find(wanted)

    def _new_postings(self) -> "_Postings":
        postings = _Postings(self.texts.text_hash)
        live = np.flatnonzero(self._counts.values) + 1
        for first in range(0, len(live), _BLOCK):
            codes = live[first : first + _BLOCK].tolist()
            postings.add(codes, [self.text_of(code) for code in codes])
        return postings

    def _add(self, texts: list[str]) -> None:
        first = self.codes + 1
        super()._add(texts)
        if self._postings is not None:
            self._postings.add(range(first, first + len(texts)), texts)

    def _drop(self, code: int) -> None:
        if self._postings is not None:
            self._postings.drop(self.text_of(code))
        super()._drop(code)


class _Postings:
    """Codes of attributes by the (key, value) pairs they have.

    A dropped code stays in its lists: no entry has it any more, so it does no harm there.
    """

    def __init__(self, text_hash: TextHash) -> None:
        self._pairs = InternedTexts(text_hash)
        self._codes = SortedMultimap()

    def add(self, codes: Sequence[int], texts: Sequence[str | None]) -> None:
        having: list[int] = []
        pairs: list[str] = []
        for code, text in zip(codes, texts, strict=True):
            its_pairs = _pairs_of(decode_attributes(text))
            pairs += its_pairs
            having += [code] * len(its_pairs)
        self._codes.add(self._pairs.acquire(pairs).astype(np.uint64), np.array(having, np.int32))

    def drop(self, text: str | None) -> None:
        for pair in _pairs_of(decode_attributes(text)):
            self._pairs.release(self._pairs.code_of(pair) or NO_TEXT)

    def find(self, wanted: Mapping[str, JsonScalar]) -> NDArray[np.int32]:
        found: NDArray[np.int32] | None = None
        for pair in _pairs_of(wanted):
            codes = self._codes.find(self._pairs.code_of(pair) or NO_TEXT)
            found = codes if found is None else np.intersect1d(found, codes, assume_unique=True)
        return np.zeros(0, np.int32) if found is None else found


def _pairs_of(attributes: Mapping[str, Any]) -> list[str]:
    """Return each key with its scalar value as a text that is the same for values equal as JSON."""
    return [
        json.dumps([key, _canonical(value)])
        for key, value in attributes.items()
        if not isinstance(value, dict | list)
    ]


def _canonical(value: JsonScalar) -> JsonScalar:
    return int(value) if isinstance(value, float) and value.is_integer() else value
