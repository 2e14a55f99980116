"""What the world does to a run, on real OpenSSH and the real stages: here, the kill matrix."""
