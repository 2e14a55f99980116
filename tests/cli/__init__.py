"""The command line, each verb in a file named after it."""
