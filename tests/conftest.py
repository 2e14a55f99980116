"""Make the fixtures of the test bed known to all tests."""

pytest_plugins = ["tests.farm.fixtures"]
