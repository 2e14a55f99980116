"""How long the SSH transport waits, and how much it opens."""

from __future__ import annotations

CONNECT_TIMEOUT = 10.0  # seconds
DEAD_AFTER = 30.0  # seconds until a peer from which nothing comes is given up
PIECE = 1 << 15  # bytes; what one SFTP request and one channel packet carry
SPARES = 3  # channels opened ahead: as many as are used up while one of them is replaced
LINKS = 8  # connections to one host, where it allows few sessions on each
REKEY_BYTES = 1 << 35  # after which keys are renewed
