"""
Hosts with SFTP and no shell: the same session, lock, journal and units, by files alone.

Nothing of ours runs there. So the lock is exclusive, by one rename, and its heartbeat is a file's
time; but a controller that was taken over is only *asked* to stop: it looks at the epoch before
each effect, and one that it has begun by then is carried out. There is no guardian.
"""
