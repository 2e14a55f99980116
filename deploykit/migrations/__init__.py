"""Migrations read from a packed source, without importing the application or running a script."""
