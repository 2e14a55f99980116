"""
`deploykit demo`: the scheduler in three releases, on a server that exists for a minute.

The server is an SSH server inside this process; what it runs are ordinary processes of this
machine, in one temporary directory. Needs the `demo` extra: asyncssh and supervisor.
"""
