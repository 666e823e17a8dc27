"""How many inputs may be unusable before a run stops."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cvivit.errors import ConfigError, TooManyFailedError

DEFAULT_MAX_FAILED = "5%"


@dataclass
class FailureCeiling:
    """Counts unusable inputs, and stops the run when there are too many.

    Args:
        limit: the most, as "5%" of all inputs, or as a number of them such as "20".
        total: the number of inputs.
    """

    limit: str
    total: int
    _failed: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._most = most_failed(self.limit, self.total)

    def add(self, failed: int, latest: str = "") -> None:
        """Count unusable inputs.

        Raises:
            TooManyFailedError: there are more than the limit.
        """
        self._failed += failed
        if self._failed > self._most:
            shown = f"; the latest: {latest}" if latest else ""
            raise TooManyFailedError(
                f"{self._failed} of {self.total} inputs cannot be used, more than --max-failed {self.limit}"
                f"{shown}. When the cause is gone, --retry-failed tries them again",
                limit=self._most,
                actual=self._failed,
            )


def most_failed(limit: str, total: int) -> float:
    """Return the number of inputs that a limit allows to fail.

    Raises:
        ConfigError: (a ValueError) the limit is neither a share nor a number.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", limit.strip())
    if match is None or (match[2] and float(match[1]) > 100) or (not match[2] and "." in match[1]):
        raise ConfigError(f"--max-failed: {limit!r} is neither a share such as 5% nor a number such as 20")
    return float(match[1]) / 100 * total if match[2] else int(match[1])
