"""
The run: pack, lock, plan, write ahead, apply; on failure, back.

Read in this order: `runner` (the run as a list of steps), `rollback`, `schedule` (which stage on
which host, in which order), `journal` (records and the state they mean), `receipts` (a command,
once), `lock`, `fleet` (the connected hosts).
"""
