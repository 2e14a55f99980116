"""The connected hosts of an environment."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from deploykit.engine.events import Events
from deploykit.engine.resolver import Resolver
from deploykit.engine.session import Session
from deploykit.engine.sftp_only.session import SftpSession
from deploykit.environment import Environment
from deploykit.errors import ConfigurationError, ConnectFailed, DeploykitError, TransportError
from deploykit.hosts import Host
from deploykit.layout import Layout
from deploykit.secrets import Secret
from deploykit.transport.base import Transport
from deploykit.transport.retrying import RetryingTransport

__all__ = ["Fleet", "attempt_each", "each", "reached", "secrets_in"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
PARALLEL = 16  # connections and commands at once, however many hosts there are


@dataclass(frozen=True)
class Fleet:
    """
    Connected hosts.

    Args:
        environment: whose they are.
        sessions: by label, in the environment's order.
        resolver: reads this environment's secrets.
    """

    environment: Environment
    sessions: Mapping[str, Session]
    resolver: Resolver

    def each(self, work: Callable[[Session], T]) -> dict[str, T]:
        """
        Do *work* on all hosts in parallel.

        Raises:
            DeploykitError: of the first host, in order, where it failed.
        """
        return each({name: partial(work, session) for name, session in self.sessions.items()})


def each(work: Mapping[K, Callable[[], T]]) -> dict[K, T]:
    """Call all of *work* in parallel, wait for all, and raise the first failure in order."""
    results, failures = attempt_each(work)
    for failure in failures.values():
        raise failure
    return results


def attempt_each(
    work: Mapping[K, Callable[[], T]], watch: Callable[[], bool] | None = None
) -> tuple[dict[K, T], dict[K, BaseException]]:
    """
    Call all of *work* in parallel, and wait for all.

    Args:
        work: by name.
        watch: called about five times a second until it returns true. The main thread must not
            sleep for long: only there does Python run signal handlers.

    Returns:
        What came of it, and what failed, by name.
    """
    results: dict[K, T] = {}
    failures: dict[K, BaseException] = {}
    pool = ThreadPoolExecutor(min(PARALLEL, max(1, len(work))))
    try:
        futures = {name: pool.submit(call) for name, call in work.items()}
        while wait(futures.values(), 0.2).not_done:
            if watch is not None and watch():
                watch = None
        for name, future in futures.items():
            error = future.exception()
            if error is None:
                results[name] = future.result()
            else:
                failures[name] = error
    finally:
        # Not waiting: what leaves early here is a second signal, and it must leave at once.
        pool.shutdown(wait=False, cancel_futures=True)
    return results, failures


@contextmanager
def reached(
    environment: Environment,
    events: Events,
    without: Iterable[str] = (),
    give_up: Callable[[], bool] = lambda: False,
) -> Iterator[Fleet]:
    """
    Connect to all hosts of *environment*, and close them in the end.

    Args:
        environment: bound to its name.
        events: told of each connection, and of links that are lost.
        without: labels of hosts to leave out.
        give_up: whether somebody asked to stop; then a lost link is not waited for.

    Raises:
        TransportError: a host that cannot be reached; names every one that cannot.
    """
    left_out = set(without)
    hosts = [host for host in environment.hosts if host.label not in left_out]
    unknown = left_out - {host.label for host in environment.hosts}
    if unknown or not hosts:
        known = ", ".join(host.label for host in environment.hosts)
        raise ConfigurationError(f"--without {' '.join(sorted(left_out))}: the hosts are {known}")
    project = environment.project or Path.cwd()
    literals: dict[str, str] = {}
    for secret in secrets_in([environment.pipeline.stages, environment.hosts]):
        if secret.value:  # two that look alike masked could be taken for one another: neither is
            same = literals.setdefault(secret.name, secret.value) == secret.value
            literals[secret.name] = secret.value if same else ""
    resolver = Resolver(environment.name, project, literals, events.scrubber)
    layout = Layout(environment.pipeline.root)
    sessions = {host.label: _session(host, layout, resolver, events, give_up) for host in hosts}
    try:
        _, failures = attempt_each(
            {name: session.transport.open for name, session in sessions.items()}
        )
        if failures:
            raise _unreachable(failures)
        for name in sessions:
            events.tell("connected", host=name)
        yield Fleet(environment, sessions, resolver)
    except DeploykitError as error:
        # Whatever it repeats of pages, logs and output, what leaves here shows no secret.
        error.scrub(events.scrubber.text)
        raise
    finally:
        for session in sessions.values():
            session.transport.close()


def secrets_in(value: Any) -> Iterator[Secret]:
    """Yield every secret that stage values hold, however deep."""
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from secrets_in(item)
    elif isinstance(value, Mapping):
        yield from secrets_in(list(value.values()))
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from secrets_in(getattr(value, field.name))


def _session(
    host: Host, layout: Layout, resolver: Resolver, events: Events, give_up: Callable[[], bool]
) -> Session:
    sudo = partial(resolver.secret, host.sudo) if host.sudo else None
    tell = partial(events.tell, host=host.label)
    transport = RetryingTransport(partial(_connect, host), tell, give_up)
    kind = Session if host.shell else SftpSession
    return kind(host.label, transport, layout, events.scrubber, sudo)


def _connect(host: Host) -> Transport:
    if host.address == "local:":  # tests of the engine, without SSH
        from deploykit.transport.local import LocalTransport

        return LocalTransport()
    from deploykit.transport import ssh

    return ssh.connect(host)


def _unreachable(failures: Mapping[str, BaseException]) -> BaseException:
    errors = list(failures.values())
    if len(errors) == 1 or not all(isinstance(error, DeploykitError) for error in errors):
        return errors[0]
    whats = "\n  ".join(getattr(error, "what", str(error)) for error in errors)
    kind = type(errors[0]) if isinstance(errors[0], TransportError) else ConnectFailed
    return kind(
        f"{len(errors)} hosts cannot be reached:\n  {whats}",
        state="nothing was touched",
        then="to deploy without them: deploykit run ENV --without HOST",
    )
