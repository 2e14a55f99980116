"""Make the fixtures of the test bed, and of hosts without a shell, known to all tests."""

pytest_plugins = ["tests.farm.fixtures", "tests.transport.without_shell"]
