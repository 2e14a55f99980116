"""
The doctor behind `deploykit check`: looks at everything, and reports all that it finds.

`examination` is the order of things; `here` looks at this machine, `hosts` at each host,
`guardians` at how its guardian would run, `stages` asks every stage, `databases` compares the
databases of all environments.
"""

from deploykit.doctor.examination import examine

__all__ = ["examine"]
