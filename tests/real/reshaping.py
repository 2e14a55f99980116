"""A stage that changes a schema, as far as the engine can see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deploykit.stage import Acting, Placement, Planning

__all__ = ["Reshape", "ReshapePlan"]


@dataclass(frozen=True)
class ReshapePlan:
    """What `Migrate` would plan for a pending revision."""

    pending: tuple[str, ...] = ("0002 drop the names",)
    rung: int = 3


@dataclass(frozen=True)
class Reshape:
    """Has something pending, always."""

    placement: ClassVar[Placement] = "first"
    migrates: ClassVar[bool] = True

    online: bool = False
    rung: int = 3
    undo_for: str = "7 days"
    name: str = "reshape"

    def plan(self, ctx: Planning) -> ReshapePlan:
        """See `Stage`."""
        del ctx
        return ReshapePlan(rung=self.rung)

    def apply(self, ctx: Acting, plan: ReshapePlan) -> None:
        """See `Stage`."""

    def undo(self, ctx: Acting, plan: ReshapePlan) -> None:
        """See `Stage`."""
