"""From the command line to the window, or to a run without one where no window can open."""

import sys
from pathlib import Path

from acquisition.errors import LiveTomoError
from ui.display import display_problem, has_display, install_libraries

__all__ = ["first_light", "live", "view"]


def first_light() -> int:
    """Show the simulated microscope; where no window can open, say so and run it headless."""
    problem = _make_ready()
    if problem is None:
        return _show(None, None)
    print(f"No window can open here: {problem}.", flush=True)
    from pipeline.headless import run_headless

    return run_headless(Path("output"))


def live(microscope: Path | None, device: str | None) -> int:
    """Show the microscope of a file.

    Raises
    ------
    LiveTomoError
        If no window can open here, or the microscope cannot be started.
    """
    if problem := _make_ready():
        raise LiveTomoError(f"live needs a window, but {problem}; record works without one")
    return _show(microscope, device)


def view(file: Path, method: str, device: str | None) -> int:
    """Show a recording or a tomogram file.

    Raises
    ------
    LiveTomoError
        If no window can open here, or the file is neither.
    """
    from pipeline.playback import open_playback

    with open_playback(file, method, device) as playback:
        if problem := _make_ready():
            raise LiveTomoError(f"view needs a window, but {problem}; export works without one")
        from ui.main import run_window

        title = f"LiveTomo - {file.name}"
        return run_window(playback, title=title, on_close=playback.close, timeline=playback)


def _make_ready() -> str | None:
    """Install what the window lacks, if that can be done; return why it still cannot open."""
    if has_display():
        try:
            install_libraries()
        except LiveTomoError as error:
            print(error, file=sys.stderr)
    return display_problem()


def _show(microscope: Path | None, device: str | None) -> int:
    from pipeline.supervisor import open_instrument

    title = f"LiveTomo - {microscope.stem if microscope else 'simulated microscope'}"
    with open_instrument(microscope, device) as instrument:
        from ui.main import run_window  # Qt loads while the instrument's processes start

        client = instrument.client()
        return run_window(client, title=title, on_close=client.close)
