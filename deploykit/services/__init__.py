"""The kinds of services that `Restart` and `Pause` know."""

from deploykit.services.base import Place, Service
from deploykit.services.custom import Custom
from deploykit.services.signal import Signal
from deploykit.services.supervisor import Supervisor
from deploykit.services.systemd import Systemd
from deploykit.services.touchfile import TouchFile

__all__ = ["Custom", "Place", "Service", "Signal", "Supervisor", "Systemd", "TouchFile"]
