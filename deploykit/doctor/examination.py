"""What is looked at, in order: this machine, each host, each stage on it, the databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from itertools import chain

from deploykit.doctor import databases, guardians, here, hosts, sftp_only, stages
from deploykit.engine.events import Events, Listener
from deploykit.engine.fleet import Fleet, attempt_each, reached
from deploykit.engine.sftp_only.session import SftpSession
from deploykit.environment import Environment
from deploykit.errors import DeploykitError
from deploykit.findings import Finding

__all__ = ["examine"]

Seen = tuple[list[Finding], frozenset[databases.Used]]


def examine(
    environment: Environment,
    everything: Mapping[str, Environment],
    listeners: Sequence[Listener] = (),
) -> Iterator[Finding]:
    """
    Look at *environment* and yield every finding, scrubbed, as soon as it is there.

    Args:
        environment: to look at, bound to its name.
        everything: all environments of `deploy.py`: two of them must not share a database.
        listeners: told of every event.
    """
    events = Events(listeners).bind(environment=environment.name)
    scrub = events.scrubber.text
    for finding in _found(environment, everything, events):
        yield replace(finding, what=scrub(finding.what), mend=scrub(finding.mend))


def _found(
    environment: Environment, everything: Mapping[str, Environment], events: Events
) -> Iterator[Finding]:
    found, packed = here.examine(environment, events)
    yield from found
    results, failures = attempt_each(
        {
            host.label: partial(_examine_host, environment, host.label, packed, events)
            for host in environment.hosts
        }
    )
    used: set[databases.Used] = set()
    for host in environment.hosts:
        if host.label in failures:
            yield unreachable(host.label, failures[host.label])
        else:
            findings, places = results[host.label]
            yield from findings
            used |= places
    others = [other for other in everything.values() if other.name != environment.name]
    yield from databases.compare(environment, used, others)


def unreachable(host: str, error: BaseException) -> Finding:
    """Return what it means that *host* could not be asked."""
    if isinstance(error, DeploykitError):
        return Finding.problem(error.what, error.then, host=host)
    return Finding.problem(f"{type(error).__name__}: {error}", host=host)


def _examine_host(environment: Environment, host: str, packed: here.Packs, events: Events) -> Seen:
    with alone(environment, host, events) as fleet:
        session = fleet.sessions[host]
        if isinstance(session, SftpSession):
            findings = list(sftp_only.examine(environment, session))
        else:
            looks = hosts.examine(environment, session), guardians.examine(environment, session)
            findings = list(chain(*looks))
        found, places = stages.examine(fleet, packed, events)
        return [*findings, *found], places


def alone(environment: Environment, host: str, events: Events) -> AbstractContextManager[Fleet]:
    """Connect to one *host*, so that another one that is down hides nothing of this one."""
    others = [other.label for other in environment.hosts if other.label != host]
    return reached(environment, events, without=others)
