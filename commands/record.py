"""Record a time-lapse without a window, with tomograms on the fly if they are asked for.

Ctrl-C ends it after the scan that is running, with all data kept; a second Ctrl-C ends it at once;
Ctrl-Z pauses it after that scan until the shell's fg. --resume goes on with a recording that was
ended or crashed.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from commands.options import METHODS, add_device, add_json, add_microscope, add_output

__all__ = ["HELP", "add_options", "run"]

HELP = "record a time-lapse without a window"


def add_options(parser: ArgumentParser) -> None:
    """Add how many scans, when and where, and what becomes of them meanwhile."""
    add_microscope(parser)
    add_device(parser)
    add_output(parser, "the recording")
    add_json(parser)
    plan = parser.add_mutually_exclusive_group(required=True)
    plan.add_argument("--stacks", type=int, metavar="N", help="how many scans")
    text = "a useq MDASequence (YAML or JSON): times, stage positions, autofocus"
    plan.add_argument("--sequence", type=Path, metavar="FILE", help=text)
    text = "go on with the recording -o, by its own plan, after it was ended or crashed"
    plan.add_argument("--resume", action="store_true", help=text)
    text = "seconds from the start of a scan to that of the next; as fast as it goes if not given"
    parser.add_argument("--interval", type=float, metavar="S", default=0.0, help=text)
    again = parser.add_mutually_exclusive_group()
    text = "take the background again after so many scans"
    again.add_argument("--background-every", type=int, metavar="N", help=text)
    text = "take it again after so many minutes"
    again.add_argument("--background-minutes", type=float, metavar="M", help=text)
    text = "make tomograms of the scans meanwhile, into this file"
    parser.add_argument("--tomograms", type=Path, metavar="FILE", help=text)
    parser.add_argument("--regularizer", choices=METHODS, help="of the tomograms; deep by default")


def run(options: Namespace) -> int:
    """Record what the options say."""
    from commands.record_session import background_plan, run_record, tomograms_asked_for

    return run_record(
        options.microscope,
        options.stacks,
        options.interval,
        options.output,
        options.json,
        sequence=options.sequence,
        background=background_plan(options.background_every, options.background_minutes),
        tomograms=tomograms_asked_for(options.tomograms, options.regularizer, options.device),
        resume=options.resume,
    )
