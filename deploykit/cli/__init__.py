"""
The command line: one verb a file, named after it; `app` puts them together.

`options` are the arguments that verbs share, `chosen` finds the environment that was named,
`telling` chooses who listens to a run, `answer` prints documents, `ask` asks a person.
"""
