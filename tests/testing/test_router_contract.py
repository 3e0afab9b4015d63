from __future__ import annotations

import planar
from planar.routing import CostRouter
from planar.testing.routers import RouterContract


class TestCostRouter(RouterContract):
    strategies = (
        None,
        "ordered",
        "pinned",
        "cheapest",
        "fastest",
        "quality",
        "balanced",
        planar.Fastest(whole=True),
        planar.Weighted({"a:m0": 3, "b:m1": 1}),
        planar.Sticky("cheapest"),
        planar.Cascade(bool),
    )

    def router(self) -> CostRouter:
        return CostRouter()
