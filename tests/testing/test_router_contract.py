from __future__ import annotations

from planar.routing import OrderedRouter
from planar.testing.routers import RouterContract


class TestOrderedRouter(RouterContract):
    strategies = (None, "pinned")

    def router(self) -> OrderedRouter:
        return OrderedRouter()
