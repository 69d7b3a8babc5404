"""The command line: one module for each command, with its options, help and action.

A module has ``HELP`` (one line), ``add_options(parser)`` and ``run(options)``, which returns the
exit status. Its docstring is the description in the command's own help. It imports nothing heavy
before ``run``, because the parser imports all commands.

Optional: ``EXTRAS``, the optional dependencies that it needs; ``SUFFICIENT_PACKAGES``, packages
with which it runs even if the others are missing; ``FORWARDS_OPTIONS``, True if it passes its
options on to another program.
"""

__all__ = ["NAMES"]

# In the order of the help. A command ``x`` is ``commands/x.py``; ``import``, a Python keyword, is
# ``commands/import_.py``.
NAMES = (
    "test", "live", "record", "reconstruct", "regularize", "measure", "tune", "import", "view",
    "export", "calibrate", "patterns", "train", "evaluate", "benchmark", "screenshots", "doctor",
)  # fmt: skip
