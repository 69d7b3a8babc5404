"""The command line: one file a command, with its options, its help and what it does.

A file has ``HELP`` (one line), ``add_options(parser)`` and ``run(options)``, which returns the exit
status; its docstring's first paragraph opens the command's own help. It imports nothing heavy
before ``run``: the parser is made of all of them.

Two more are optional: ``EXTRAS``, the optional dependencies that it needs, and ``ENOUGH``, packages
with which it runs where the others are not to be had. ``FORWARDS`` leaves the options to a program
that the command starts.
"""

__all__ = ["NAMES"]

# In the order of the help. A command ``x`` is ``commands/x.py``; ``import``, a word of Python's, is
# ``commands/import_.py``.
NAMES = (
    "test", "live", "record", "reconstruct", "tune", "import", "view", "export", "calibrate",
    "patterns", "train", "evaluate", "benchmark", "screenshots", "doctor",
)  # fmt: skip
