"""How a host is reached: `ssh` for real ones, `local` for this machine in tests."""
