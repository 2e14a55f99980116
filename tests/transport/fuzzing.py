"""Answers of an SFTP server that are nearly right, by the thousand."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploykit.transport.sftp.packets import Attributes, Kind, ProtocolError
from deploykit.transport.sftp.reading import reply, version
from tests.transport.scripted import attrs, data, handle, names, packed, status

__all__ = ["BATCH", "check", "fuzz", "mutated"]

BATCH = 500  # messages that are made of one seed
ANSWERS: dict[int, Kind] = {
    Kind.LSTAT: Kind.ATTRS,
    Kind.FSTAT: Kind.ATTRS,
    Kind.OPEN: Kind.HANDLE,
    Kind.OPENDIR: Kind.HANDLE,
    Kind.READ: Kind.DATA,
    Kind.READDIR: Kind.NAME,
    Kind.READLINK: Kind.NAME,
}
NUMBERS = (0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
"""Which a length or a count is easily taken for another with."""


def fuzz(messages: int) -> None:
    """
    Have so many *messages* read.

    Raises:
        Exception: the first that is neither read nor refused with `ProtocolError`.
    """

    @settings(
        max_examples=-(-messages // BATCH),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**64 - 1))
    def read(seed: int) -> None:
        for packet in mutated(Random(seed), BATCH):
            check(packet)

    read()


def check(packet: bytes) -> bool:
    """Read *packet* as what it could be; return whether it is well formed."""
    found = 0
    for read in (reply, version):
        try:
            read(packet)
            found += 1
        except ProtocolError:
            continue
    return bool(found)


def mutated(
    random: Random, count: int, changes: int | None = None, number: int = 1, asked: int = 0
) -> Iterator[bytes]:
    """
    Yield answers, each changed in a few places.

    Args:
        random: where.
        count: of them.
        changes: in each; None for up to three.
        number: of the request that they answer.
        asked: the type of that request; 0 for any.
    """
    for _ in range(count):
        packet = bytearray(_right(random, number))
        # Or a refusal; what is of another type is found out at once, and nothing after it.
        while asked and packet[0] not in (ANSWERS.get(asked, Kind.STATUS), Kind.STATUS):
            packet = bytearray(_right(random, number))
        for _ in range(random.randrange(4) if changes is None else changes):
            _change(packet, random)
        yield bytes(packet)


def _right(random: Random, number: int) -> bytes:
    """Return an answer, without its length."""
    some = random.randbytes(random.randrange(40))
    mode = random.choice((0o100644, 0o40755, 0o120777))
    found = [random.randbytes(random.randrange(1, 9)) for _ in range(random.randrange(4))]
    attributes = Attributes(random.getrandbits(64), 0, 0, mode, 0, random.getrandbits(32))
    # Extended attributes, which OpenSSH never sends.
    extended = b"\x80\0\0\0" + b"\0\0\0\1" + b"\0\0\0\1a" + b"\0\0\0\1b"
    return random.choice(
        (
            status(number, random.randrange(9), "no"),
            handle(number, some),
            data(number, some),
            names(number, found, mode),
            attrs(number, attributes),
            packed(Kind.ATTRS, number, extended),
            packed(Kind.EXTENDED_REPLY, number, some),
        )
    )[4:]


def _change(packet: bytearray, random: Random) -> None:
    """Change one place of *packet*."""
    at = random.randrange(len(packet) + 1)
    match random.randrange(4):
        case 0:
            packet[at : at + 1] = random.randbytes(1)
        case 1:
            packet[at : at + 4] = random.choice(NUMBERS).to_bytes(4, "big")
        case 2:
            del packet[at:]
        case _:
            packet[at:at] = random.randbytes(random.randrange(9))
