"""Fetching a page with limits, from here or from a host, and judging the answer."""
