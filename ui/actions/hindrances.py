"""What hinders an action in a situation: a sentence for its tooltip, "" where nothing does."""

from pipeline.wire.state import Phase
from ui.actions.situation import Situation

__all__ = [
    "busy",
    "no_answer",
    "no_background",
    "no_instrument",
    "no_keeping",
    "no_microscope",
    "no_release",
    "no_rest",
    "no_snap",
    "no_stage",
    "no_tomogram",
    "nothing",
]

_RESTING = (Phase.IDLE, Phase.STOPPED)


def nothing(situation: Situation) -> str:
    """Return "": the action needs nothing."""
    return ""


def no_answer(situation: Situation) -> str:
    """Say if the instrument or the file takes no command now."""
    if situation.instrument is None:
        what = "read of the file" if situation.file else "heard of the instrument"
        return f"nothing has been {what} yet"
    return "the last command has not been answered yet" if situation.busy else ""


def no_instrument(situation: Situation) -> str:
    """Say if no instrument takes a command now."""
    return "this window shows a file" if situation.file else no_answer(situation)


def no_microscope(situation: Situation) -> str:
    """Say if no microscope takes a command now: a replay has none."""
    if situation.instrument is not None and situation.instrument.replay:
        return "a recording is replayed, which has its backgrounds and its scans already"
    return no_instrument(situation)


def no_background(situation: Situation) -> str:
    """Say if no background can be taken now."""
    why = no_microscope(situation)
    if why or not situation.recording:
        return why
    return "a time-lapse is running, and takes its own"


def busy(situation: Situation) -> str:
    """Say if a command is being carried out."""
    return "the last command has not been answered yet" if situation.busy else ""


def no_tomogram(situation: Situation) -> str:
    """Say if no tomogram is on display."""
    return "" if situation.tomogram else "there is no tomogram yet"


def no_keeping(situation: Situation) -> str:
    """Say if no object can be kept in the middle."""
    why, state = no_instrument(situation), situation.instrument
    if why or state is None or state.drift.possible:
        return why
    return "there is neither a sample stage nor a focus drive: name them in [stage]"


def no_rest(situation: Situation) -> str:
    """Say if scans are being taken, or no instrument takes a command."""
    why, state = no_instrument(situation), situation.instrument
    if why or state is None:
        return why
    if situation.recording:
        return "a time-lapse is running"
    if state.phase in _RESTING:
        return ""
    if state.phase is Phase.LIVE:
        return "live imaging shows each scan: stop it first (Space)"
    return "the instrument is not ready"


def no_snap(situation: Situation) -> str:
    """Say if there is no snap that could be saved."""
    state = situation.instrument
    if situation.file:
        return "this window shows a file"
    return "there is no snap yet (N)" if state is None or state.snapped is None else ""


def no_stage(situation: Situation) -> str:
    """Say if there is no stage that may be moved now."""
    why, state = no_instrument(situation), situation.instrument
    if why or state is None:
        return why
    if state.stage is None:
        return "there is no stage: name it in [stage] of microscope.toml"
    return "a time-lapse moves the stage itself" if situation.recording else ""


def no_release(situation: Situation) -> str:
    """Say if the microscope cannot be released to another program."""
    why = no_microscope(situation)
    if why:
        return why
    if not situation.bench:
        return "this works on the computer of the microscope only, in the window that opened it"
    return "a time-lapse is running" if situation.recording else ""
