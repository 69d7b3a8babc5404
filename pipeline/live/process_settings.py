"""What a process of the instrument is started with, and what it reports to its parent, as JSON.

Imports the standard library only: a window starts the processes before it loads anything else.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

__all__ = [
    "EXIT_CONFIGURATION",
    "HEARTBEAT_S",
    "OPTIONAL",
    "KeepSetting",
    "KeptSetting",
    "ProcessName",
    "ProcessReport",
    "ProcessSettings",
]

EXIT_CONFIGURATION = 3  # a restart would not help
HEARTBEAT_S = 0.25
ProcessName = Literal["acquirer", "processor", "quality", "measuring"]
OPTIONAL: tuple[ProcessName, ...] = ("measuring", "quality")  # the instrument works without them
KeptSetting = Literal["live", "regularizer", "constraint", "recording", "measuring", "keep"]
KeepSetting = Callable[[KeptSetting, bool | str], None]


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """The settings that a process is started with.

    ``recording`` is the ``RecordRequest`` of a time-lapse that was interrupted by a restart,
    ``measuring`` the last ``MeasuringRequest``.
    """

    name: ProcessName
    microscope_file: Path | None = None
    replay: Path | None = None  # a recording in place of the microscope
    device: str | None = None
    regularizer: str | None = None
    constraint: str | None = None
    live: bool = True
    recording: str = ""
    measuring: str = ""
    keep: str = ""  # the object in the middle: "on", "off", or "" as microscope.toml says
    life: int = 0
    endpoints: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the settings that ``to_json`` wrote."""
        given = json.loads(text)
        for name in ("microscope_file", "replay"):
            given[name] = None if given[name] is None else Path(given[name])
        return cls(**given)

    def to_json(self) -> str:
        """Return the settings as one JSON object."""
        return json.dumps(asdict(self), default=str)

    def endpoint(self, name: str) -> str:
        """Return the address of a socket, or any free port for one that has none yet."""
        from pipeline.wire.bound_sockets import ANY_PORT

        return self.endpoints.get(name, ANY_PORT)

    def keeping(self, kept: Mapping[KeptSetting, bool | str]) -> Self:
        """Return these settings with those that a process has reported."""
        changed: dict[str, Any] = {str(name): value for name, value in kept.items()}
        return replace(self, **changed)

    def among(self, addresses: dict[str, str]) -> Self:
        """Return these settings with the addresses of the other processes."""
        return replace(self, endpoints={**addresses, **self.endpoints})


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """A report of a process to its parent, one JSON line.

    It has the addresses, settings to keep for a restart, or the error that ends the process.
    """

    endpoints: dict[str, str] = field(default_factory=dict)
    kept: dict[KeptSetting, bool | str] = field(default_factory=dict)
    error: str = ""

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Return the report of a line; ValueError for one that is not a report."""
        try:
            report = cls(**json.loads(line))
        except TypeError as error:  # no object, or one with another key
            raise ValueError(str(error)) from error
        if not set(report.kept) <= set(get_args(KeptSetting)):
            raise ValueError(f"settings to keep must be of {KeptSetting}, got {report.kept}")
        return report

    def to_json(self) -> str:
        """Return the report as one line."""
        return json.dumps(asdict(self))
