"""`deploykit trust`: show a host's key, and store it once a person has compared it."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from deploykit.cli import chosen, known_hosts
from deploykit.cli.answer import say
from deploykit.cli.ask import typed
from deploykit.errors import ConfigurationError, HostKeyRefused

if TYPE_CHECKING:
    from pathlib import Path

    from deploykit.hosts import Host

EXAMPLE = "deploykit trust shop.example"


def trust(
    ctx: typer.Context,
    host: Annotated[
        str,
        typer.Argument(
            metavar="HOST", help="A host of deploy.py, by name or address; or any address[:port]."
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Store it unasked; compare it afterwards.")] = (
        False
    ),
    fingerprint: Annotated[
        str | None,
        typer.Option(
            "--fingerprint",
            metavar="SHA256:…",
            help="Store it if it has this fingerprint, and refuse it otherwise.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """
    Show a host's key, and store it when you type yes.

    It goes to known_hosts. Compare the fingerprint with the one on the host itself:
    ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub
    """
    from deploykit.transport import ssh

    wanted = _host(ctx, host)
    key = ssh.host_key_of(wanted)
    kind, text, shown = key.get_name(), key.get_base64(), ssh.fingerprint(key)
    file, name = ssh.known_hosts_file(wanted)
    say(f"{name}: {kind} {shown}")
    if wanted.host_key:
        _compare_pinned(wanted, kind, text)
        return
    if _known_already(file, name, kind, text):
        say(f"{file} knows it already")
        return
    if fingerprint is not None:
        _compare(shown, fingerprint, name)
    elif not yes:
        _ask(name, shown, host)
    _store(file, name, kind, text)


def _host(ctx: typer.Context, text: str) -> "Host":
    """Return the host of `deploy.py` that *text* names; without one there, *text* as an address."""
    from deploykit.hosts import Host

    try:
        found = chosen.environments(ctx)
    except ConfigurationError:
        if chosen.common(ctx).file is not None:
            raise
        found = {}  # a first trust may come before the first deploy.py
    hosts = [host for environment in found.values() for host in environment.hosts]
    for host in hosts:
        if text in (host.label, host.address, host.name):
            return host
    address, colon, port = text.rpartition(":")
    if colon and port.isdigit() and ":" not in address:
        return Host(address, port=int(port))
    return Host(text)


def _compare_pinned(host: "Host", kind: str, key: str) -> None:
    pinned = (host.host_key or "").split()
    if kind in pinned and key in pinned:
        say("deploy.py pins this key; there is nothing to store")
        return
    raise HostKeyRefused(
        f"host {host.label}: deploy.py pins another key by host_key=",
        state="nothing was stored",
        then="if the server was reinstalled, change host_key= in deploy.py",
    )


def _known_already(file: "Path", name: str, kind: str, key: str) -> bool:
    same_kind = [known for known in known_hosts.known(file, name) if known.kind == kind]
    if any(known.key == key for known in same_kind):
        return True
    if same_kind:
        raise HostKeyRefused(
            f"{name}: its key has CHANGED: {file}, line {same_kind[0].line}, has another one",
            state="nothing was stored",
            then=f"if the server was reinstalled: ssh-keygen -R '{name}' -f {file}, then again",
        )
    return False


def _compare(shown: str, wanted: str, name: str) -> None:
    if shown.removeprefix("SHA256:") != wanted.removeprefix("SHA256:").rstrip("="):
        raise HostKeyRefused(
            f"{name}: the fingerprint is {shown}, not {wanted}",
            state="nothing was stored",
            then="find out why before you connect: another server may be answering",
        )


def _ask(name: str, shown: str, host: str) -> None:
    answer = typed(
        f"is that the fingerprint of {name}? type yes to trust it: ",
        otherwise=f"compare it with the host's own, then: "
        f"deploykit trust {host} --fingerprint {shown}  (or --yes, unseen)",
    )
    if answer != "yes":
        sys.stderr.write("nothing was stored\n")
        raise typer.Exit(1)


def _store(file: "Path", name: str, kind: str, key: str) -> None:
    try:
        known_hosts.add(file, name, kind, key)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from error
    say(f"stored in {file}")
