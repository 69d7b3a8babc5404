"""``python -m pipeline.live.measuring_child``: measures volumes for a window on a file.

It reads pickled requests from standard input and writes a pickled answer to each to standard
output: the objects and the outlines of one volume. It has the lowest priority, so that playing is
not disturbed, and ends with its standard input. Only its parent writes to it.
"""

import pickle
import sys

from acquisition.errors import LiveTomoError
from pipeline.live.measuring_order import Measured, measure
from pipeline.live.parent import lower_priority

__all__ = ["main"]


def main() -> int:
    """Answer requests until standard input closes."""
    lower_priority()
    answers = sys.stdout.buffer
    while True:
        try:
            order = pickle.load(sys.stdin.buffer)
        except EOFError:
            return 0
        try:
            answer: Measured | str = measure(order)
        except LiveTomoError as error:
            answer = str(error)
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    sys.exit(main())
