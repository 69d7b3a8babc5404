"""Show a recording or a tomogram file in the window; a recording is reconstructed on demand."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from acquisition.errors import LiveTomoError
from commands.open_window import prepare_window
from commands.options import METHODS, add_device

__all__ = ["HELP", "add_options", "run"]

HELP = "show a recording or a tomogram file in the window"


def add_options(parser: ArgumentParser) -> None:
    """Add the file and the volume shown first."""
    add_device(parser)
    parser.add_argument("file", type=Path, metavar="FILE", help="a recording or a tomogram file")
    text = "volume shown first; for a recording, the regularizer; default: deep"
    parser.add_argument("--regularizer", choices=METHODS, default="deep", help=text)


def run(options: Namespace) -> int:
    """Show a recording or a tomogram file.

    Raises
    ------
    LiveTomoError
        If no window can open here, or the file is neither.
    """
    from pipeline.live.playback import open_playback

    with open_playback(options.file, options.regularizer, options.device) as playback:
        if problem := prepare_window():
            raise LiveTomoError(f"view needs a window, but {problem}; export works without one")
        from ui.main import run_window

        title = f"LiveTomo - {options.file.name}"
        ending = playback.close
        return run_window(
            playback, title=title, on_close=ending, timeline=playback, file=options.file
        )
