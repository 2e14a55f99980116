"""The demo: its application, its SSH server, its service manager."""
