"""Tells the operator that a budget has been used up to a percentage."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeAlias

from planar.types import Alert

OnAlert: TypeAlias = Callable[[Alert], None]


class Herald:
    """Passes alerts on to a log and to whoever wants them; what that raises hurts no call.

    Args:
        listener: Called for each, on the thread and in the task of the call whose row crossed the line.
    """

    def __init__(self, listener: OnAlert | None) -> None:
        self._listener = listener
        self._log = logging.getLogger("planar.quotas")

    def tell(self, alerts: Sequence[Alert]) -> None:
        """Each once: only the row that crossed a percentage has it."""
        for alert in alerts:
            self._log.warning(
                "%s has used %d %% of its %s (%s)", alert.scope, alert.percent, alert.dimension, alert.window
            )
            if self._listener is None:
                continue
            try:
                self._listener(alert)
            except Exception as error:  # noqa: BLE001 - the answer is paid for; whoever listens is not part of it
                self._log.error("on_alert raised for %s: the call goes on", alert.id, exc_info=error)
