"""Opens the window: checks that one can open here, and shows the live instrument in it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from acquisition.errors import LiveTomoError
from acquisition.loading import loading

if TYPE_CHECKING:
    from ui.viewed_client import ViewedClient

__all__ = ["open_live_window", "prepare_window"]


def prepare_window() -> str | None:
    """Install missing libraries if possible; return why no window can open, None if one can."""
    from ui.display import display_problem, has_display, install_libraries

    if has_display():
        try:
            install_libraries()
        except LiveTomoError as error:
            print(error, file=sys.stderr)
    return display_problem()


def open_live_window(
    microscope: Path | None, device: str | None, replay: Path | None = None
) -> int:
    """Open the window on the instrument of a microscope.toml; None: the simulated one.

    ``replay`` is a recording that is played in its place.

    Returns the exit status of the window.
    """
    from pipeline.live.supervisor import open_instrument

    title = f"LiveTomo - {microscope.stem if microscope else 'simulated microscope'}"
    if replay is not None:
        title = f"LiveTomo - replay of {replay.name}"
    with open_instrument(microscope, device, replay) as instrument:
        with loading():  # Qt, while the instrument's processes start
            from ui.bench import Bench
            from ui.connecting_client import ConnectingClient
            from ui.main import run_window

        client = ConnectingClient(instrument.client)
        bench = None
        if replay is None:
            bench = Bench(microscope, instrument.release, instrument.take_back, instrument.restart)
        shown = cast("ViewedClient", client)  # by its __getattr__, which a checker does not see
        return run_window(shown, title=title, on_close=client.close, bench=bench)
