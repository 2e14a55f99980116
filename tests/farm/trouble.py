"""What can go wrong with a host: its network, its disk, its time, and how each is undone."""

from __future__ import annotations

from typing import Final

from tests.farm.machine import Machine
from tests.farm.shell import call

BALLAST: Final = "/var/farm-ballast"


class TroubledMachine(Machine):
    """A machine that can be put into each kind of trouble and taken out of it."""

    def partition(self, *others: Machine) -> None:
        """Drop every packet to and from the host, or only those of the *others*; no one is told."""
        if others:
            them = "{ " + ", ".join(other.ip for other in others) + " }"
            rules = (f"ip saddr {them} drop", f"ip daddr {them} drop")
        else:
            rules = ("iif != lo drop", "oif != lo drop")
        self._filter(f"input {rules[0]}", f"output {rules[1]}")

    def loss(self, percent: float) -> None:
        """Lose that many *percent* of the packets each way."""
        some = f"numgen random mod 1000 < {round(percent * 10)} drop"
        self._filter(f"input iif != lo {some}", f"output oif != lo {some}")

    def refuse(self, port: int = 22) -> None:
        """Answer every new connection to *port* with a reset, as if nothing listened there."""
        self._filter(f"input tcp dport {port} reject with tcp reset")

    def linkdown(self) -> None:
        """Pull the network cable."""
        call("ip", "-n", self.space, "link", "set", "veth0", "down")

    def rate(self, rate: str) -> None:
        """Limit the network to *rate* each way, written as tc does: "1mbit"."""
        for space, device in ((self.space, "veth0"), (self.network.hub, self.name)):
            call(
                *("tc", "-n", space, "qdisc", "replace", "dev", device, "root", "tbf"),
                *("rate", rate, "burst", "64kb", "latency", "200ms"),
            )

    def heal(self) -> None:
        """Undo every trouble of the network."""
        self._filter()
        call("ip", "-n", self.space, "link", "set", "veth0", "up")
        for space, device in ((self.space, "veth0"), (self.network.hub, self.name)):
            # It exits with an error where no limit was set.
            call("tc", "-n", space, "qdisc", "del", "dev", device, "root", check=False)

    def freeze(self) -> None:
        """Stop every process of the host where it is; its kernel still answers the network."""
        self._group.freeze(frozen=True)

    def thaw(self) -> None:
        """Let the processes of a frozen host go on."""
        self._group.freeze(frozen=False)

    def fill(self, leave: int = 0) -> None:
        """
        Fill the disk up to the last *leave* bytes; the host has to have a disk of its own size.

        Raises:
            ValueError: the host has no limit to its disk, so this would fill the real one.
        """
        if self._disk is None:
            raise ValueError(f"{self.name} has no disk of its own: ask for it with disk='64M'")
        # What is free may be less by the time that it is taken.
        self.root(
            "until free=$(($(stat -fc '%a * %S' /)))\n"
            f"fallocate -l $((free > {leave} ? free - {leave} : 1)) {BALLAST}; do sleep 0.1; done",
            within=30,
        )
        # The ballast's own bookkeeping takes a block or two; what is left goes to a second file.
        if leave == 0:
            self.root(f"cat /dev/zero > {BALLAST}.end", check=False)

    def unfill(self) -> None:
        """Free what `fill` took."""
        self.root(f"rm -f {BALLAST} {BALLAST}.end")

    def readonly(self) -> None:
        """Make the disk read-only, as a kernel does that met an error on it."""
        self.root("mount -o remount,ro /")

    def writable(self) -> None:
        """Make the disk writable again."""
        self.root("mount -o remount,rw /")

    def recover(self) -> None:
        """Undo every trouble, and switch the host on if it is off."""
        self.thaw()
        self.heal()
        if not self.is_running:
            self.start()
        self.writable()
        self.unfill()

    def _filter(self, *rules: str) -> None:
        """Replace the host's packet filter of this test bed, which is apart from the host's own."""
        chains = "".join(
            f"chain c{number} {{ type filter hook {hook} priority -300; {rule}; }}\n"
            for number, (hook, _, rule) in enumerate(rule.partition(" ") for rule in rules)
        )
        # The first line makes sure that there is something for the second to delete.
        text = f"table inet farm\ndelete table inet farm\ntable inet farm {{\n{chains}}}\n"
        call("nsenter", f"--net=/run/netns/{self.space}", "nft", "-f", "-", input=text)
