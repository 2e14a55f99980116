"""
What people and programs get to see of a run.

The engine tells events; here are the listeners: `console` (live, at a terminal), `plain` (one line
an event), `jsonlines` (for programs), `runfile` (a file for each run), `ci` (log groups and
annotations). `words` says each event in a sentence, `tables`, `plan` and `failure` print results.
"""
