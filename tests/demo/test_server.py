"""The embedded SSH server, asked by the clients that deploykit uses."""

from __future__ import annotations

import base64
import io
import os
import shlex
import signal
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paramiko
import pytest
from fabric import Config, Connection

from deploykit.demo.keys import DemoKeys
from deploykit.demo.leftovers import find_processes
from deploykit.demo.server import DemoServer
from tests.farm.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

BIG = 8 * 1024 * 1024


@contextmanager
def login(
    server: DemoServer, *, user: str | None = None, identity: Path | None = None
) -> Iterator[paramiko.SSHClient]:
    """Log in with paramiko, to no server but this one."""
    kind, key = server.host_key.split()
    name = f"[{server.address}]:{server.port}"
    with paramiko.SSHClient() as client:
        known = paramiko.Ed25519Key(data=base64.b64decode(key))
        client.get_host_keys().add(name, kind, known)
        client.connect(
            server.address,
            server.port,
            user or server.user,
            key_filename=str(identity or server.identity),
            allow_agent=False,
            look_for_keys=False,
        )
        yield client


@pytest.fixture
def client(server: DemoServer) -> Iterator[paramiko.SSHClient]:
    """Return a login."""
    with login(server) as client:
        yield client


@contextmanager
def fabric(server: DemoServer) -> Iterator[Connection]:
    """Log in with Fabric, as a script of an operator does."""
    with Connection(
        server.address,
        server.user,
        server.port,
        config=Config(lazy=True, overrides={"run": {"in_stream": False, "hide": True}}),
        connect_kwargs={"key_filename": str(server.identity), "allow_agent": False},
    ) as connection:
        yield connection


def start(client: paramiko.SSHClient, command: str) -> paramiko.Channel:
    """Start *command* on a channel of its own."""
    transport = client.get_transport()
    assert transport is not None
    channel = transport.open_session()
    channel.exec_command(command)
    return channel


def run(client: paramiko.SSHClient, command: str, given: bytes = b"") -> tuple[int, bytes, bytes]:
    """Run *command*, and return its exit code, output and errors."""
    stdin, stdout, stderr = client.exec_command(command)
    # A command may end before it has read everything.
    with suppress(OSError):
        stdin.write(given)
        stdin.channel.shutdown_write()
    out, err = stdout.read(), stderr.read()
    return stdout.channel.recv_exit_status(), out, err


def test_output_and_exit_code(client: paramiko.SSHClient) -> None:
    """Both outputs and the exit code arrive, each where it belongs."""
    assert run(client, "echo out; echo err >&2; exit 7") == (7, b"out\n", b"err\n")


def test_unknown_command(client: paramiko.SSHClient) -> None:
    """The shell's exit code for a missing program is passed on."""
    assert run(client, "no-such-program")[0] == 127


@pytest.mark.parametrize("name", ["KILL", "TERM", "BUS"])
def test_death_by_signal(client: paramiko.SSHClient, name: str) -> None:
    """A command that dies of a signal has no exit code, as with OpenSSH: paramiko says -1."""
    assert run(client, f"kill -{name} $$")[0] == -1


def test_stdin(client: paramiko.SSHClient) -> None:
    """What the client sends reaches the command, whole and in order, up to its end."""
    sent = os.urandom(BIG)
    assert run(client, "cat", sent) == (0, sent, b"")


def test_stdin_that_is_not_read(client: paramiko.SSHClient) -> None:
    """A command that ends without reading its input still reports its exit code."""
    assert run(client, "exec true", b"x" * BIG)[0] == 0


def test_shell_without_a_command(client: paramiko.SSHClient) -> None:
    """A shell reads its commands from the client."""
    transport = client.get_transport()
    assert transport is not None
    channel = transport.open_session()
    channel.invoke_shell()
    channel.sendall(b"echo hello\nexit 3\n")
    assert channel.makefile("rb").read() == b"hello\n"
    assert channel.recv_exit_status() == 3


def test_big_output_on_both_streams(client: paramiko.SSHClient) -> None:
    """Much output on both streams at once arrives whole."""
    command = f"head -c {BIG} /dev/zero & head -c {BIG} /dev/zero >&2; wait"
    channel = start(client, command)
    errors: list[int] = []
    reader = threading.Thread(
        target=lambda: errors.append(len(channel.makefile_stderr("rb").read()))
    )
    reader.start()
    assert len(channel.makefile("rb").read()) == BIG
    reader.join()
    assert errors == [BIG]
    assert channel.recv_exit_status() == 0


def test_environment_is_clean(
    tmp_path: Path, client: paramiko.SSHClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command finds the host's home and programs, and nothing of this process's variables."""
    monkeypatch.setenv("SECRET_OF_THE_OPERATOR", "1")
    assert run(client, "echo $HOME; pwd")[1].decode().split() == [str(tmp_path / "home")] * 2
    assert b"SECRET" not in run(client, "env")[1]
    assert run(client, "python3 -c 'import alembic, sqlalchemy'") == (0, b"", b"")
    assert run(client, "alembic --version; exit 4")[0] == 4


def test_command_has_its_own_session(client: paramiko.SSHClient) -> None:
    """A command leads a session of its own, and is no part of this process's."""
    _, out, _ = run(client, "echo $$; ps -o sid= -p $$")
    leader, session = map(int, out.split())
    assert leader == session != os.getsid(0)


@pytest.mark.parametrize("way", ["channel", "connection"])
def test_command_outlives_its_client(server: DemoServer, tmp_path: Path, way: str) -> None:
    """When the client goes away the command goes on, whichever way it goes."""
    done, go_on = tmp_path / "done", tmp_path / "go-on"
    wait = f"echo begun; until [ -e {go_on} ]; do sleep 0.01; done; echo x > {done}"
    with login(server) as client:
        channel = start(client, wait)
        assert channel.recv(10) == b"begun\n"
        if way == "channel":
            channel.close()
            assert run(client, "true")[0] == 0
    go_on.touch()
    assert eventually(done.exists)


def test_printing_without_a_client_fails(server: DemoServer, tmp_path: Path) -> None:
    """A command that prints to a client that is gone dies of SIGPIPE, as under a real sshd."""
    result = tmp_path / "result"
    printing = "echo begun; while echo more; do :; done"
    script = f"sh -c {shlex.quote(printing)}; echo $? > {result}.part; mv {result}.part {result}"
    with login(server) as client:
        channel = start(client, script)
        assert channel.recv(6) == b"begun\n"
        channel.close()
        eventually(result.exists)
    assert int(result.read_text()) == 128 + signal.SIGPIPE


def test_stdin_ends_with_the_client(server: DemoServer, tmp_path: Path) -> None:
    """A command that waits for input meets its end when the client is gone."""
    kept = tmp_path / "kept"
    with login(server) as client:
        channel = start(client, f"cat > {kept}.part; mv {kept}.part {kept}")
        channel.sendall(b"so far")
        eventually((tmp_path / "kept.part").exists)
    eventually(kept.exists)
    assert kept.read_text() == "so far"


def test_client_sends_a_signal(client: paramiko.SSHClient) -> None:
    """A signal from the client reaches the whole session of the command."""
    channel = start(client, "trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done")
    assert channel.recv(10) == b"ready\n"
    message = paramiko.Message()
    message.add_byte(bytes([98]))  # SSH_MSG_CHANNEL_REQUEST; paramiko has no method for signals
    message.add_int(channel.remote_chanid)
    message.add_string("signal")
    message.add_boolean(False)
    message.add_string("TERM")
    transport: Any = channel.transport
    transport._send_user_message(message)
    assert channel.recv_exit_status() == 9


def test_terminal_is_refused(client: paramiko.SSHClient) -> None:
    """Who asks for a terminal is told that there is none."""
    transport = client.get_transport()
    assert transport is not None
    channel = transport.open_session()
    with pytest.raises(paramiko.SSHException):
        channel.get_pty()


def test_unknown_subsystem_is_no_shell(client: paramiko.SSHClient) -> None:
    """A subsystem other than SFTP ends at once, and does not become a shell."""
    transport = client.get_transport()
    assert transport is not None
    channel = transport.open_session()
    channel.invoke_subsystem("netconf")
    assert channel.recv_exit_status() == 1


@pytest.mark.parametrize("stranger", ["name", "key"])
def test_stranger_is_refused(server: DemoServer, tmp_path: Path, stranger: str) -> None:
    """Neither another name nor another key may log in."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    identity = DemoKeys.generate(elsewhere).identity if stranger == "key" else None
    user = "root" if stranger == "name" else None
    with (
        pytest.raises(paramiko.AuthenticationException),
        login(server, user=user, identity=identity),
    ):
        pass


def test_private_key_is_private(server: DemoServer) -> None:
    """Nobody else on the machine can read the key that may log in."""
    assert server.identity.stat().st_mode & 0o777 == 0o600


def test_sftp_and_commands_see_the_same_files(
    client: paramiko.SSHClient, server: DemoServer
) -> None:
    """A file put by SFTP under an absolute path is there for a command, and back again."""
    path = server.host.root.parent / "file"
    sent = os.urandom(BIG)
    with client.open_sftp() as sftp:
        sftp.putfo(io.BytesIO(sent), str(path))
        assert run(client, f"cat {path}") == (0, sent, b"")
        received = io.BytesIO()
        sftp.getfo(str(path), received)
    assert received.getvalue() == sent


def test_sftp_begins_at_the_home(client: paramiko.SSHClient, server: DemoServer) -> None:
    """A relative path means the same to SFTP and to a command."""
    with client.open_sftp() as sftp:
        assert sftp.normalize(".") == os.path.realpath(server.host.home)
        with sftp.open("note", "w") as note:
            note.write("hello")
        assert sftp.listdir() == ["note"]
    assert run(client, "cat note")[1] == b"hello"


def test_sftp_makes_what_a_release_needs(client: paramiko.SSHClient, server: DemoServer) -> None:
    """Links, modes and the rename that replaces work as with OpenSSH."""
    home = server.host.home
    with client.open_sftp() as sftp:
        sftp.mkdir("v1")
        sftp.mkdir("v2")
        sftp.symlink("v1", "current")
        sftp.symlink("v2", "next")
        sftp.posix_rename("next", "current")
        with sftp.open("v2/tool", "w") as tool:
            tool.write("x")
        sftp.chmod("v2/tool", 0o750)
        assert sftp.readlink("current") == "v2"
        assert sftp.stat("current/tool").st_mode == 0o100750
        with pytest.raises(FileNotFoundError):
            sftp.stat("nothing")
    assert (home / "current").readlink() == Path("v2")


def test_many_channels_of_one_connection(client: paramiko.SSHClient) -> None:
    """Fifty commands that wait for each other run at once on one connection."""
    channels = [start(client, f"read line; echo $line; exit {number}") for number in range(50)]
    for number, channel in enumerate(channels):
        channel.sendall(f"{number}\n".encode())
    for number, channel in enumerate(channels):
        assert channel.makefile("rb").read() == f"{number}\n".encode()
        assert channel.recv_exit_status() == number


def test_many_connections(server: DemoServer) -> None:
    """Thirty logins at the same time are all served."""
    codes: list[int] = []

    def visit(number: int) -> None:
        with login(server) as client:
            codes.append(run(client, f"exit {number}")[0])

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == list(range(30))


def test_fabric(server: DemoServer, tmp_path: Path) -> None:
    """Fabric's run, put and get work, with failures and variables told apart."""
    local = tmp_path / "local"
    local.write_bytes(os.urandom(100_000))
    with fabric(server) as connection:
        result = connection.run(
            "echo $GREETING; echo err >&2; exit 5", warn=True, env={"GREETING": "hi"}
        )
        assert (result.stdout, result.stderr, result.return_code) == ("hi\n", "err\n", 5)
        assert connection.run("cat", in_stream=io.StringIO("typed")).stdout == "typed"
        assert connection.run("kill -KILL $$", warn=True).return_code == -1
        connection.put(str(local), "remote")
        connection.get("remote", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == local.read_bytes()


def test_nothing_is_left(tmp_path: Path) -> None:
    """Closing ends every command, also those that left their session, and every thread."""
    threads = threading.active_count()
    with DemoServer(tmp_path) as server, login(server) as client:
        start(client, "echo begun; exec sleep 1000").recv(10)
        start(client, "trap '' TERM HUP; echo begun; while :; do sleep 1000; done").recv(10)
        start(client, "setsid sleep 1000 > /dev/null 2>&1 & echo begun").recv(10)
        assert len(find_processes(server.host.mark)) >= 4
    assert find_processes(server.host.mark) == []
    assert eventually(lambda: threading.active_count() <= threads)
    with pytest.raises(paramiko.ssh_exception.NoValidConnectionsError), login(server):
        pass
