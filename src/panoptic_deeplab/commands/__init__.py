"""One file per command: a frozen dataclass of its options, and the function that does the work.

A new command is a file here and a line in `cli.COMMANDS`. What can be read by programs goes to
stdout, everything else to stderr. Heavy modules are imported inside the functions.
"""
