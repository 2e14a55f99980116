"""SFTP: its messages, and conversations with hundreds of requests under way."""
