"""Opening the window: whether one can open here, and the live instrument in it."""

import sys
from pathlib import Path

from acquisition.errors import LiveTomoError

__all__ = ["make_ready", "show"]


def make_ready() -> str | None:
    """Install what the window lacks, if that can be done; return why it still cannot open."""
    from ui.display import display_problem, has_display, install_libraries

    if has_display():
        try:
            install_libraries()
        except LiveTomoError as error:
            print(error, file=sys.stderr)
    return display_problem()


def show(microscope: Path | None, device: str | None) -> int:
    """Open the window on the instrument of a microscope.toml; None: the simulated one."""
    from pipeline.live.supervisor import open_instrument

    title = f"LiveTomo - {microscope.stem if microscope else 'simulated microscope'}"
    with open_instrument(microscope, device) as instrument:
        from ui.main import run_window  # Qt loads while the instrument's processes start

        client = instrument.client()
        return run_window(client, title=title, on_close=client.close)
