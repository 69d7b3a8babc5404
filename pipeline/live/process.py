"""Entry point of every process: ``python -m pipeline.live.process '{"name": "acquirer", ...}'``.

Sockets are bound before anything else is imported, so that a window opens while the processes load.
All processes start at once: what needs the addresses of others waits for them after its imports.
"""

import json
import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, TextIO

import zmq

from acquisition.loading import loading
from pipeline.live.parent import Parent, lower_priority
from pipeline.wire.bound_sockets import ANY_PORT, FRAMES_QUEUE, Context, Socket, bind

if TYPE_CHECKING:
    from pipeline.live.process_settings import KeptSetting, ProcessReport, ProcessSettings

__all__ = ["main"]


def main(argument: str) -> int:
    """Run one process until its parent closes its standard input; return the exit status."""
    # Ctrl-C in a terminal reaches the whole group: the parent decides what to end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reports = _private_stdout()
    given = json.loads(argument)
    with zmq.Context() as context:
        sockets, addresses = _bound(context, given["name"], given.get("endpoints", {}))
        print(json.dumps({"endpoints": addresses}), file=reports, flush=True)
        return _run(given["name"], argument, context, sockets, reports)


def _bound(
    context: Context, name: str, known: dict[str, str]
) -> tuple[dict[str, Socket], dict[str, str]]:
    """Return the process's sockets and their addresses, the former ones if it had any."""
    kinds = {name: zmq.PUB, f"{name}_commands": zmq.REP}
    if name == "acquirer":
        kinds |= {"stacks": zmq.PUSH, "frames": zmq.PUSH}
    sockets, addresses = {}, {}
    for which, kind in kinds.items():
        sockets[which], addresses[which] = bind(
            context,
            kind,
            known.get(which, ANY_PORT),
            queue=FRAMES_QUEUE if which == "frames" else None,
        )
    return sockets, addresses


def _run(
    name: str, argument: str, context: Context, sockets: dict[str, Socket], reports: TextIO
) -> int:
    parent = Parent()
    if name == "quality":
        lower_priority()  # the others' imports come first
    with loading():
        from acquisition.errors import ConfigurationError, LiveTomoError
        from pipeline.live.process_settings import (
            EXIT_CONFIGURATION,
            ProcessReport,
            ProcessSettings,
        )
        from pipeline.live.service import Publisher
        from pipeline.wire.messages import Stamp

    settings = ProcessSettings.from_json(argument)
    ending = parent.ending
    stamp = Stamp(name, time.time_ns())
    commands, publisher = sockets[f"{name}_commands"], Publisher(sockets[name])

    def keep_setting(setting: "KeptSetting", value: bool | str) -> None:
        _report(reports, ProcessReport(kept={setting: value}))

    try:
        if name == "acquirer":
            with loading():
                from pipeline.live.acquirer import Acquirer
                from pipeline.live.sending import Sending

            parent.loading = False
            sending = Sending(sockets["stacks"], sockets["frames"], stamp)
            Acquirer(settings, sending, commands, publisher, stamp, keep_setting).run(ending)
        elif name == "processor":
            _check_configuration(settings)
            with loading():
                from pipeline.live.processor import Processor

            parent.loading = False
            settings = settings.among(parent.addresses())
            Processor(settings, context, commands, publisher, stamp, keep_setting).run(ending)
        elif name == "quality":
            settings = settings.among(parent.addresses())  # before the rest: it can wait
            from pipeline.live.quality_process import QualityCheck

            parent.loading = False
            QualityCheck(settings, context, commands, publisher, stamp).run(ending)
        else:
            settings = settings.among(parent.addresses())
            from pipeline.live.measuring_process import MeasuringProcess

            parent.loading = False
            objects = MeasuringProcess(settings, context, commands, publisher, stamp, keep_setting)
            objects.run(ending, lower_priority)
    except LiveTomoError as error:
        traceback.print_exc()
        _report(reports, ProcessReport(error=str(error)))
        return EXIT_CONFIGURATION if isinstance(error, ConfigurationError) else 1
    finally:
        publisher.close()
        context.destroy(linger=0)
    return 0


def _check_configuration(settings: "ProcessSettings") -> None:
    """Raise ConfigurationError for a wrong microscope.toml, before torch takes seconds to load."""
    from acquisition.configuration.microscope_file import load_configuration

    load_configuration(settings.microscope_file)


def _private_stdout() -> TextIO:
    """Reserve standard output for reports; redirect other output to standard error, the log."""
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return reports


def _report(reports: TextIO, report: "ProcessReport") -> None:
    print(report.to_json(), file=reports, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
