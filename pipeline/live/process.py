"""Entry point of every process: ``python -m pipeline.live.process '{"name": "acquirer", ...}'``.

Sockets are bound before heavy imports, so that other processes can connect within half a second.
All processes start at once: what needs the addresses of others waits for them after its imports.
"""

import os
import signal
import sys
import time
import traceback
from typing import TextIO

import zmq

from acquisition.errors import ConfigurationError, LiveTomoError
from pipeline.live.service import (
    EXIT_CONFIGURATION,
    KeptSetting,
    Parent,
    ProcessReport,
    ProcessSettings,
    Publisher,
    lower_priority,
)
from pipeline.wire.messages import Stamp
from pipeline.wire.sockets import FRAMES_QUEUE, bind

__all__ = ["main"]


def main(argument: str) -> int:
    """Run one process until its parent closes its standard input; return the exit status."""
    # Ctrl-C in a terminal reaches the whole group: the parent decides what to end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reports = _private_stdout()
    settings = ProcessSettings.model_validate_json(argument)
    parent = Parent()
    ending = parent.ending
    stamp = Stamp(settings.name, time.time_ns())
    with zmq.Context() as context:
        commands, address = bind(context, zmq.REP, settings.endpoint(f"{settings.name}_commands"))
        publisher = Publisher(context, settings.endpoint(settings.name))

        def keep_setting(name: KeptSetting, value: bool | str) -> None:
            _report(reports, ProcessReport(kept={name: value}))

        bound = {settings.name: publisher.endpoint, f"{settings.name}_commands": address}
        try:
            if settings.name == "acquirer":
                stacks, bound["stacks"] = bind(context, zmq.PUSH, settings.endpoint("stacks"))
                frames, bound["frames"] = bind(
                    context, zmq.PUSH, settings.endpoint("frames"), queue=FRAMES_QUEUE
                )
                _report(reports, ProcessReport(endpoints=bound))
                from pipeline.live.acquirer import Acquirer
                from pipeline.live.sending import Sending

                sending = Sending(stacks, frames, stamp)
                Acquirer(settings, sending, commands, publisher, stamp, keep_setting).run(ending)
            elif settings.name == "processor":
                _report(reports, ProcessReport(endpoints=bound))
                from pipeline.live.processor import Processor

                settings = settings.among(parent.addresses())
                Processor(settings, context, commands, publisher, stamp, keep_setting).run(ending)
            elif settings.name == "quality":
                _report(reports, ProcessReport(endpoints=bound))
                lower_priority()
                settings = settings.among(parent.addresses())  # before the rest: it can wait
                from pipeline.live.quality_process import QualityCheck

                QualityCheck(settings, context, commands, publisher, stamp).run(ending)
            else:
                _report(reports, ProcessReport(endpoints=bound))
                settings = settings.among(parent.addresses())
                from pipeline.live.measuring_process import MeasuringProcess

                objects = MeasuringProcess(
                    settings, context, commands, publisher, stamp, keep_setting
                )
                objects.run(ending, lower_priority)
        except LiveTomoError as error:
            traceback.print_exc()
            _report(reports, ProcessReport(error=str(error)))
            return EXIT_CONFIGURATION if isinstance(error, ConfigurationError) else 1
        finally:
            publisher.close()
            context.destroy(linger=0)
    return 0


def _private_stdout() -> TextIO:
    """Reserve standard output for reports; redirect other output to standard error, the log."""
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return reports


def _report(reports: TextIO, report: ProcessReport) -> None:
    print(report.model_dump_json(), file=reports, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
