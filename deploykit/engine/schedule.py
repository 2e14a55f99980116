"""Which stage works on which hosts, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from deploykit.engine.fleet import attempt_each
from deploykit.engine.interrupts import Interrupts
from deploykit.environment import Environment
from deploykit.stage import AnyStage

__all__ = ["carry_out", "hosts_of", "is_after_confirmed", "placement"]


def hosts_of(stage: AnyStage, environment: Environment, left: Sequence[str]) -> tuple[str, ...]:
    """Return the labels of the hosts that *stage* works on, out of those *left* in the run."""
    chosen = environment.hosts_of(getattr(stage, "on", None))
    labels = tuple(host.label for host in chosen if host.label in left)
    return labels[:1] if placement(stage) == "first" else labels


def placement(stage: AnyStage) -> str:
    """Return `each`, `serial` or `first`."""
    return str(getattr(stage, "placement", "each"))


def is_after_confirmed(stage: AnyStage) -> bool:
    """Return whether *stage* is carried out only once the run is confirmed."""
    return bool(getattr(stage, "after_confirmed", False))


def carry_out(
    stage: AnyStage,
    hosts: Sequence[str],
    work: Callable[[str], None],
    interrupts: Interrupts,
    *,
    on_through: bool,
    stop: Callable[[], None] | None = None,
) -> dict[str, BaseException]:
    """
    Do *work* for every host of a stage, with a barrier after it.

    Args:
        stage: says whether hosts go in parallel or one after the other.
        hosts: their labels.
        work: what to do for one of them.
        interrupts: watched while hosts work.
        on_through: go on with the next host where one has failed (undo does, apply does not).
        stop: called again and again from when somebody asks to stop, for as long as hosts work: a
            command may begin at that very moment.

    Returns:
        What failed, by host.
    """
    groups = [[name] for name in hosts] if placement(stage) == "serial" else [list(hosts)]
    failures: dict[str, BaseException] = {}
    for group in groups:
        calls = {name: partial(work, name) for name in group}
        watch = partial(_watch, interrupts, stop) if stop else None
        _, failed = attempt_each(calls, watch)
        failures |= failed
        if failures and not on_through:
            break
    return failures


def _watch(interrupts: Interrupts, stop: Callable[[], None]) -> bool:
    """Call *stop* if somebody asked to stop; watching is never over."""
    if interrupts.asked:
        stop()
    return False
