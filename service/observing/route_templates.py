"""Which call a path is, as its template: a name that has no ids in it and is one of a few.

For metrics and logs: also of requests that are refused before they are routed.
"""

import re
from collections.abc import Iterable

from starlette.routing import BaseRoute


class RouteTemplates:
    """Finds the template of a path among routes, the first that fits."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._fixed: dict[str, str] = {}
        self._patterns: list[tuple[re.Pattern[str], str]] = []
        for route in routes:
            template = getattr(route, "path_format", None)
            if template is None:
                continue
            if "{" in template:
                self._patterns.append((route.path_regex, template))  # type: ignore[attr-defined]
            else:
                self._fixed[template] = template

    def of(self, path: str) -> str | None:
        """Return the template of a path; None: no call has it."""
        fixed = self._fixed.get(path)
        if fixed is not None:
            return fixed
        return next((name for regex, name in self._patterns if regex.match(path)), None)
