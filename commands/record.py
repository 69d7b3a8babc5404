"""Record a time-lapse without a window, optionally with tomograms made while recording.

Ctrl-C ends the recording after the current scan and keeps all data; a second Ctrl-C ends it at
once. Ctrl-Z pauses it after the current scan; the shell's fg continues it. --resume continues a
recording that was ended or crashed.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from commands.options import METHODS, add_device, add_json, add_microscope, add_output

__all__ = ["HELP", "add_options", "run"]

HELP = "record a time-lapse without a window"


def add_options(parser: ArgumentParser) -> None:
    """Add the plan, the background and the tomograms."""
    add_microscope(parser)
    add_device(parser)
    add_output(parser, "the recording to write, or to resume")
    add_json(parser)
    plan = parser.add_mutually_exclusive_group(required=True)
    plan.add_argument("--stacks", type=int, metavar="N", help="number of scans")
    text = "a useq MDASequence (YAML or JSON): times, stage positions, autofocus"
    plan.add_argument("--sequence", type=Path, metavar="FILE", help=text)
    text = "continue the recording -o with its own plan, after it was ended or crashed"
    plan.add_argument("--resume", action="store_true", help=text)
    text = "seconds from the start of a scan to the start of the next; default: as fast as possible"
    parser.add_argument("--interval", type=float, metavar="S", default=0.0, help=text)
    again = parser.add_mutually_exclusive_group()
    text = "retake the background every N scans"
    again.add_argument("--background-every", type=int, metavar="N", help=text)
    text = "retake the background every M minutes"
    again.add_argument("--background-minutes", type=float, metavar="M", help=text)
    text = "keep the object in the middle of the field and in focus, by moving the stages"
    parser.add_argument("--keep-in-middle", action="store_true", help=text)
    text = "make tomograms while recording, into this file"
    parser.add_argument("--tomograms", type=Path, metavar="FILE", help=text)
    parser.add_argument(
        "--regularizer", choices=METHODS, help="regularizer of the tomograms; default: deep"
    )
    text = "name of the sample, written into the files"
    parser.add_argument("--sample", metavar="NAME", default="", help=text)
    parser.add_argument("--notes", metavar="TEXT", default="", help="notes for the files")


def run(options: Namespace) -> int:
    """Record the time-lapse."""
    from commands.record_session import background_plan, run_record, tomogram_request
    from files.sample_notes import SampleNotes

    return run_record(
        options.microscope,
        options.stacks,
        options.interval,
        options.output,
        options.json,
        sequence=options.sequence,
        background=background_plan(options.background_every, options.background_minutes),
        tomograms=tomogram_request(options.tomograms, options.regularizer, options.device),
        resume=options.resume,
        sample=SampleNotes(options.sample, options.notes),
        keep_in_middle=options.keep_in_middle,
    )
