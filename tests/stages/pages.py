"""A real web server with the pages that a check meets in its worst hours."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

MEGABYTE = b"x" * (1 << 20)


class Pages(ThreadingHTTPServer):
    """The server; *over* ends every page that hangs."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.over = threading.Event()
        self.asked: list[str] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave early are what these tests are about."""

    def url(self, path: str, scheme: str = "http") -> str:
        """Return the URL of the page *path*."""
        return f"{scheme}://127.0.0.1:{self.server_port}{path}"


class Page(BaseHTTPRequestHandler):
    """One request, answered by the method named after its path."""

    server: Pages
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        path = self.path.partition("?")[0].strip("/") or "fine"
        self.server.asked.append(path)
        getattr(self, path)()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Say nothing."""

    def fine(self) -> None:
        """A good page."""
        self._whole(200, b"\n  all is well\nrelease one\n")

    def broken(self) -> None:
        """A page with an error, and a secret on it."""
        self._whole(500, b"Traceback: DB_PASSWORD=hunter2-hunter2\n")

    def third(self) -> None:
        """A page that is right from the third time on."""
        late = self.server.asked.count("third") < 3
        self._whole(503 if late else 200, b"starting" if late else b"started")

    def named(self) -> None:
        """A page that insists on its own name."""
        right = self.headers["Host"] == "shop.example"
        self._whole(200 if right else 400, b"")

    def hang(self) -> None:
        """Nothing, until the test is over."""
        self.server.over.wait()

    def stall(self) -> None:
        """Half a page."""
        self._begin(length=100)
        self.wfile.write(b"half of ")
        self.wfile.flush()
        self.server.over.wait()

    def drip(self) -> None:
        """A byte now and then, for ever."""
        self._begin()
        while not self.server.over.wait(0.05):
            self.wfile.write(b"1\r\n.\r\n")
            self.wfile.flush()

    def huge(self) -> None:
        """40 MB of unknown length."""
        self._begin()
        for _ in range(40):
            self.wfile.write(f"{len(MEGABYTE):x}\r\n".encode() + MEGABYTE + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def loop(self) -> None:
        """A redirect to itself."""
        self._redirect("/loop")

    def moved(self) -> None:
        """A redirect to a good page."""
        self._redirect("/fine")

    def away(self) -> None:
        """A redirect to what is not the web."""
        self._redirect("ftp://127.0.0.1/")

    def closed(self) -> None:
        """The connection ends without an answer."""
        self.close_connection = True

    def _whole(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _redirect(self, where: str) -> None:
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _begin(self, length: int | None = None) -> None:
        self.send_response(200)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[Pages]:
    """Serve the pages; under TLS if a *certificate* with its key is given."""
    with Pages() as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


def self_signed(path: Path) -> Path:
    """Write a certificate for 127.0.0.1 that nobody vouches for, with its key, to *path*."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    path.write_bytes(key.private_bytes(pem, private, plain) + certificate.public_bytes(pem))
    return path
