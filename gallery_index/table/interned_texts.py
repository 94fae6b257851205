"""Texts that many entries share, by code, with a count of the entries; gone with the last one."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from gallery_index.table.growing_array import GrowingArray
from gallery_index.table.indexed_texts import IndexedTexts
from gallery_index.table.text_hash import TextHash

NO_TEXT: Final = 0
_DEAD_TOLERATED: Final = 1024


class InternedTexts:
    """Texts by code, from 1 on; code 0 is no text. A code is never given to another text."""

    def __init__(
        self,
        text_hash: TextHash,
        texts: IndexedTexts | None = None,
        counts: NDArray[np.integer[Any]] | None = None,
    ) -> None:
        """Begin empty, or with texts and how many entries have each."""
        self.texts = IndexedTexts(text_hash) if texts is None else texts
        self._counts = GrowingArray(
            np.zeros(0, np.int32) if counts is None else counts.astype(np.int32)
        )
        self._live = int(np.count_nonzero(self._counts.values))

    def __len__(self) -> int:
        """Texts that some entry has."""
        return self._live

    @property
    def codes(self) -> int:
        """The highest code given out."""
        return len(self.texts)

    @property
    def wasteful(self) -> bool:
        """Whether more codes are dead than alive, by far enough to number the texts anew."""
        return self.codes - self._live > self._live + _DEAD_TOLERATED

    def code_of(self, text: str) -> int | None:
        """Return the code of a text that some entry has."""
        number = self.texts.find(text.encode())
        return None if number is None else number + 1

    def text_of(self, code: int) -> str | None:
        """Return the text of a code; None for no text."""
        return None if code == NO_TEXT else self.texts.at(code - 1).decode()

    def acquire(self, texts: Iterable[str | None]) -> NDArray[np.int32]:
        """Return the code of each text, (n,), and count one entry more for each."""
        texts = list(texts)
        counts = Counter(text for text in texts if text is not None)
        known = {text: self.code_of(text) for text in counts}
        fresh = [text for text, code in known.items() if code is None]
        codes = {text: code for text, code in known.items() if code is not None}
        codes.update(zip(fresh, range(self.codes + 1, self.codes + 1 + len(fresh)), strict=True))
        if fresh:
            self._add(fresh)
        for text, count in counts.items():
            self._counts.values[codes[text] - 1] += count
        return np.fromiter(
            (NO_TEXT if text is None else codes[text] for text in texts), np.int32, len(texts)
        )

    def release(self, code: int) -> None:
        """Count one entry less; the text of the last one is overwritten."""
        if code == NO_TEXT:
            return
        self._counts.values[code - 1] -= 1
        if self._counts.values[code - 1] == 0:
            self._drop(code)

    def live_codes(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return the codes that some entry has, and each old code's place among them, from 1 on."""
        live = np.flatnonzero(self._counts.values) + 1
        places = np.zeros(self.codes + 1, np.int32)
        places[live] = np.arange(1, len(live) + 1)
        return live, places

    def renumbered(self) -> tuple[Self, NDArray[np.int32]]:
        """Return a copy without dead codes, and the new code of each old one, (codes + 1,)."""
        live, codes = self.live_codes()
        text_hash = self.texts.text_hash
        texts = IndexedTexts(text_hash, *self.texts.kept(live - 1), np.ones(len(live), np.bool_))
        return type(self)(text_hash, texts, self._counts.values[live - 1]), codes

    def _add(self, texts: list[str]) -> None:
        self.texts.extend([text.encode() for text in texts])
        self._counts.extend(np.zeros(len(texts), np.int32))
        self._live += len(texts)

    def _drop(self, code: int) -> None:
        self.texts.erase(code - 1)
        self._live -= 1
