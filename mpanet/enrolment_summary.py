"""What became of crops that were to be enrolled, for people, for programs and as a table."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mpanet.crop_files import Refused

ENROLLED: Final = 201
EXAMPLES: Final = 3
COLUMNS: Final = ("path", "code", "detail")


@dataclass
class Summary:
    """Counts, and the reason of each crop that is not in the gallery by its path."""

    enrolled: int = 0
    already_there: int = 0
    refused: dict[str, Refused] = field(default_factory=dict)

    @property
    def settled(self) -> int:
        """How many crops something became of."""
        return self.enrolled + self.already_there + len(self.refused)

    def count(self, settled: Iterable[tuple[str, Mapping[str, Any] | Refused]]) -> None:
        """Add crops by name: results of `POST /gallery/batch`, or why they were not sent."""
        for name, outcome in settled:
            if isinstance(outcome, Refused):
                self.refused[name] = outcome
            elif outcome["status"] != ENROLLED:
                problem = outcome["problem"]
                self.refused[name] = Refused(problem["code"], problem["detail"])
            elif outcome.get("replayed"):
                self.already_there += 1
            else:
                self.enrolled += 1

    def by_code(self) -> dict[str, dict[str, str]]:
        """Return why and for which paths, by code: the most frequent first."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for path, reason in sorted(self.refused.items()):
            found[reason.code][path] = reason.detail
        return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))

    def lines(self, crops: int) -> list[str]:
        """Return the summary of so many crops for people: a few examples of each reason."""
        lines = []
        for code, paths in self.by_code().items():
            lines.append(f"refused {len(paths)} as {code}:")
            lines += [f"  {path}: {paths[path]}" for path in list(paths)[:EXAMPLES]]
            if len(paths) > EXAMPLES:
                lines.append(f"  and {len(paths) - EXAMPLES} more")
        counts = [
            f"enrolled {self.enrolled}",
            f"already there {self.already_there}",
            f"refused {len(self.refused)}",
        ]
        if self.settled < crops:
            counts.append(f"not sent {crops - self.settled}")
        return [*lines, ", ".join(counts)]

    def document(self, crops: int) -> dict[str, object]:
        """Return the summary of so many crops for programs."""
        return {
            "enrolled": self.enrolled,
            "already_there": self.already_there,
            "not_sent": crops - self.settled,
            "refused_by_code": {code: len(paths) for code, paths in self.by_code().items()},
            "refused": [
                {"path": path, "reason": f"{reason.code}: {reason.detail}"}
                for path, reason in sorted(self.refused.items())
            ],
        }

    def write_refused(self, path: Path) -> None:
        """Write what was refused as CSV: path, code, detail."""
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for name, reason in sorted(self.refused.items()):
                table.writerow((name, reason.code, reason.detail))
