"""The DLPC900's driver against an emulated controller: bytes, order, failures and time limits."""

import os
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from pymmcore_plus.experimental.unicore import UniMMCore

from acquisition.dlpc900.controller import Controller, Timing, Wiring
from acquisition.dlpc900.device import Dlpc900
from acquisition.dlpc900.images import compress, pack, stored_image
from acquisition.dlpc900.packets import HidTransport, command_reports
from acquisition.errors import ConfigurationError, DeviceError, Stopped
from acquisition.illumination.gratings import lee_grating
from acquisition.microscope import empty_core, end_core
from tests.dlpc900_emulator import Emulator, decode

SHAPE = (36, 260)
TIMING = Timing(2000, 100)


def gratings(count: int, shape: tuple[int, int] = SHAPE) -> list[NDArray[np.uint8]]:
    return [lee_grating(shape, (0.2 + 0.002 * i, 0.16 - 0.001 * i)) for i in range(count)]


def bench(controllers: Literal[1, 2] = 1) -> tuple[Controller, Emulator]:
    emulator = Emulator(*SHAPE, controllers)
    wiring = Wiring(SHAPE, controllers)
    return Controller(emulator, wiring, timeout_s=0.2), emulator


@pytest.mark.parametrize("seed", range(60))
def test_any_image_survives_the_decoder(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = int(rng.integers(1, 12)), int(rng.integers(1, 700))
    image = rng.integers(0, rng.choice([1, 2, 3, 256]), (rows, columns, 3)).astype(np.uint8)
    if seed % 3 == 0:  # long repetitions, lines that are alike
        image = np.repeat(image, 150, axis=1)[:, :columns]
    if seed % 4 == 0:
        image[1 :: int(rng.integers(1, 3))] = image[0]
    restored = decode(stored_image(image), rows, columns)
    np.testing.assert_array_equal(restored, image)


def test_alike_lines_and_even_areas_take_hardly_any_room() -> None:
    image = np.zeros((1080, 1920, 3), np.uint8)
    assert len(compress(image)) < 1080 * 8
    image[:, ::2] = 255
    assert len(compress(image)) < 1080 * 8 + 1920 * 4


def test_the_words_of_the_protocol() -> None:
    """Two pixels, twice; then a copied line; a single pixel is a repetition of one."""
    a, b = (1, 2, 3), (4, 5, 6)
    image = np.array([[a, a, a, b], [a, a, a, b]], np.uint8)
    repeated = bytes([3, *a, 1, *b, 0, 0])
    copied = bytes([0, 1, 4, 0, 0])
    assert compress(image) == repeated + copied + bytes([0, 1, 0])
    literal = np.array([[a, b]], np.uint8)
    assert compress(literal) == bytes([0, 2, *a, *b, 0, 0, 0, 1, 0])
    long = np.zeros((1, 300, 3), np.uint8)
    assert compress(long) == bytes([(300 & 0x7F) | 0x80, 300 >> 7, 0, 0, 0, 0, 0, 0, 1, 0])


@pytest.mark.parametrize(("counts", "extra"), [("data", 0), ("header", 48), ("padding", 50)])
def test_what_the_size_counts_is_a_setting(
    counts: Literal["data", "header", "padding"], extra: int
) -> None:
    image = np.zeros((2, 3, 3), np.uint8)  # 3 (0, 0, 0), end, copy 3, end, end: 14 bytes
    stored = stored_image(image, counts)
    assert struct.unpack_from("<I", stored, 8)[0] == 14 + extra
    assert len(stored) == 64


def test_bit_planes_are_where_the_controller_looks_for_them() -> None:
    planes = [np.zeros((1, 1), np.uint8) for _ in range(24)]
    for plane, (byte, value) in {
        0: (2, 1),
        7: (2, 128),
        8: (1, 1),
        16: (0, 1),
        23: (0, 128),
    }.items():
        shown = [np.ones((1, 1), np.uint8) if i == plane else p for i, p in enumerate(planes)]
        assert pack(shown)[0, 0].tolist() == [value if i == byte else 0 for i in range(3)]


@pytest.mark.parametrize("controllers", [1, 2])
def test_the_mirrors_do_what_was_asked(controllers: Literal[1, 2]) -> None:
    controller, emulator = bench(controllers)
    planes = gratings(50)
    told: list[tuple[int, int]] = []
    assert controller.load(planes, TIMING, lambda *now: told.append(now))
    controller.start()
    assert emulator.running
    assert emulator.configured == (50, 50)
    for index, plane in enumerate(planes):
        np.testing.assert_array_equal(emulator.pattern(index), plane)
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_pattern_s_definition_byte_by_byte() -> None:
    controller, emulator = bench()
    controller.load(gratings(26), Timing(0x010203, 0x040506, triggered=True))
    assert emulator.definitions[25] == bytes(
        [25, 0, 3, 2, 1, 0b1000_0001, 6, 5, 4, 0, 1, 1 << 3]
    )  # image 1, bit 1


def test_the_order_that_works() -> None:
    controller, emulator = bench()
    controller.load(gratings(30), TIMING)
    order = [name for i, name in enumerate(emulator.log) if name != emulator.log[i - 1] or i == 0]
    assert order[:5] == ["start", "mode", "start", "define", "configure"]  # start 0 is a stop
    assert order[5:8] == ["begin image", "image data", "hardware status"]
    assert order[-1] == "configure"
    assert list(emulator.images) == [(1, 0), (0, 0)]


def test_what_is_there_is_not_sent_again() -> None:
    controller, emulator = bench()
    controller.load(gratings(3), TIMING)
    emulator.log.clear()
    assert not controller.load([255 * plane for plane in gratings(3)], Timing(500))
    assert "image data" not in emulator.log
    assert int.from_bytes(emulator.definitions[0][2:5], "little") == 500
    controller.start()
    assert controller.load(gratings(4), TIMING)
    assert not emulator.running


def test_another_order_needs_no_upload() -> None:
    controller, emulator = bench()
    controller.load(gratings(5), TIMING)
    emulator.log.clear()
    controller.reorder([4, 0, 2])
    assert emulator.order == (4, 0, 2)
    assert emulator.configured == (3, 3)
    assert "image data" not in emulator.log
    with pytest.raises(ConfigurationError, match="of the 5 loaded patterns"):
        controller.reorder([5])


def test_a_stopped_upload_counts_for_nothing() -> None:
    controller, emulator = bench()
    stop = threading.Event()
    with pytest.raises(Stopped):
        controller.load(gratings(30), TIMING, lambda done, of: stop.set(), stop)
    with pytest.raises(DeviceError, match="no patterns"):
        controller.start()
    emulator.log.clear()
    assert controller.load(gratings(30), TIMING)
    controller.start()
    np.testing.assert_array_equal(emulator.pattern(29), gratings(30)[29])


def test_replies_that_come_too_late_are_not_taken_for_others() -> None:
    controller, emulator = bench()
    emulator.delay_s = 0.3
    with pytest.raises(DeviceError, match=r"did not answer command 0x1a0a within 0\.2 s"):
        controller.status()
    time.sleep(0.15)
    emulator.delay_s = 0.0
    assert controller.version() == "6.1.2"
    assert controller.status().problems == ()


def test_a_lost_reply_ends_in_time_and_the_next_command_works() -> None:
    controller, emulator = bench()
    emulator.drop = 1
    begin = time.perf_counter()
    with pytest.raises(DeviceError, match="did not answer"):
        controller.stop()
    assert time.perf_counter() - begin < 30
    controller.stop()


@pytest.mark.parametrize("fault", ["unplugged", "stalled"])
def test_a_controller_that_is_gone_is_said(fault: str) -> None:
    controller, emulator = bench()
    setattr(emulator, fault, True)
    with pytest.raises(DeviceError, match="check its"):
        controller.load(gratings(2), TIMING)


def test_a_refusal_is_told_in_the_controller_s_words() -> None:
    controller, emulator = bench()
    emulator.running = True
    with pytest.raises(DeviceError, match="refused command 0x1a1b: mode changed while running"):
        controller.write(0x1A1B, b"\3")


def test_a_controller_that_refuses_to_say_why_ends_the_question() -> None:
    controller, emulator = bench()
    emulator.running = emulator.speechless = True
    with pytest.raises(DeviceError, match="no reason given"):
        controller.write(0x1A1B, b"\3")


def test_a_failed_image_is_said() -> None:
    controller, emulator = bench()
    emulator.hardware_status = 0x41
    with pytest.raises(DeviceError, match="after image 0: the sequencer aborted"):
        controller.load(gratings(2), TIMING)


def test_limits_are_said_before_anything_is_sent() -> None:
    controller, emulator = bench()
    with pytest.raises(ConfigurationError, match="105 to"):
        Timing(104)
    with pytest.raises(ConfigurationError, match="1 to 400 patterns, got 401"):
        controller.load([np.zeros(SHAPE, np.uint8)] * 401, TIMING)
    with pytest.raises(ConfigurationError, match=r"\(36, 260\) mirrors"):
        controller.load(gratings(1, (8, 8)), TIMING)
    with pytest.raises(ConfigurationError, match="-20 to 20000 us"):
        controller.set_trigger_output(2, -21)
    with pytest.raises(DeviceError, match="at most 512 bytes"):
        list(command_reports(0x1A2B, bytes(511), 0, read=False, reply=False))
    assert emulator.log == []


def test_triggers() -> None:
    controller, emulator = bench()
    controller.set_trigger_output(2, -5, 200, invert=True)
    assert emulator.outputs[2] == (1, -5, 200)
    controller.set_trigger_input(105, falling=True)
    with pytest.raises(ConfigurationError, match="105 to 65535"):
        controller.set_trigger_input(50)


def test_closing_stops_and_releases() -> None:
    controller, emulator = bench()
    controller.load(gratings(1), TIMING)
    controller.start()
    controller.close()
    assert emulator.closed
    assert not emulator.running


def test_without_a_controller_the_port_says_what_to_do() -> None:
    with pytest.raises(DeviceError, match=r"hidapi|plugged in"):
        HidTransport("no such serial number")


@pytest.fixture
def slm() -> Iterator[tuple[UniMMCore, Emulator]]:
    """Return a core that drives an emulated controller as its SLM."""
    core, emulator = empty_core(), Emulator(*SHAPE)
    core.loadPyDevice("Dmd", Dlpc900(lambda: emulator, SHAPE))
    core.initializeDevice("Dmd")
    core.setSLMDevice("Dmd")
    yield core, emulator
    end_core(core)
    assert emulator.closed


def test_the_core_drives_it_as_any_slm(slm: tuple[UniMMCore, Emulator]) -> None:
    core, emulator = slm
    planes = gratings(30)
    core.loadSLMSequence("Dmd", [255 * plane for plane in planes])
    core.setSLMExposure("Dmd", 2.0)
    core.setProperty("Dmd", "DarkTime-us", 150)
    emulator.log.clear()
    core.startSLMSequence("Dmd")
    assert emulator.running
    assert "image data" not in emulator.log  # other times, the same pictures
    definition = emulator.definitions[29]
    assert int.from_bytes(definition[2:5], "little") == 1850
    assert int.from_bytes(definition[6:9], "little") == 150
    assert definition[9] == 0  # every pattern triggers the camera
    np.testing.assert_array_equal(emulator.pattern(29), planes[29])
    emulator.log.clear()
    core.stopSLMSequence("Dmd")
    core.startSLMSequence("Dmd")
    assert emulator.log == ["start"] * 3  # stop, stop, start: two words a scan
    assert core.getProperty("Dmd", "Firmware") == "6.1.2"


def test_a_still_picture_of_the_sequence_costs_no_upload(slm: tuple[UniMMCore, Emulator]) -> None:
    core, emulator = slm
    planes = gratings(5)
    core.loadSLMSequence("Dmd", planes)
    emulator.log.clear()
    core.setSLMImage("Dmd", planes[3])
    core.displaySLMImage("Dmd")
    assert (emulator.order, emulator.configured, emulator.running) == ((3,), (1, 0), True)
    core.startSLMSequence("Dmd")
    assert emulator.order == tuple(range(5))
    assert emulator.configured == (5, 5)
    assert "image data" not in emulator.log


def test_another_still_picture_makes_the_next_scan_load_again(
    slm: tuple[UniMMCore, Emulator],
) -> None:
    core, emulator = slm
    core.loadSLMSequence("Dmd", gratings(5))
    core.setSLMImage("Dmd", np.ones(SHAPE, np.uint8))
    core.displaySLMImage("Dmd")
    np.testing.assert_array_equal(emulator.pattern(0), np.ones(SHAPE, np.uint8))
    core.startSLMSequence("Dmd")
    np.testing.assert_array_equal(emulator.pattern(4), gratings(5)[4])


def test_a_board_that_takes_the_trigger_bit_the_other_way(slm: tuple[UniMMCore, Emulator]) -> None:
    core, emulator = slm
    core.setProperty("Dmd", "TriggerOut2Bit", "enables")
    core.loadSLMSequence("Dmd", gratings(2))
    assert emulator.definitions[1][9] == 1


def test_a_sick_controller_is_not_taken_into_use() -> None:
    core, emulator = empty_core(), Emulator(*SHAPE, hardware_status=0x03)
    core.loadPyDevice("Dmd", Dlpc900(lambda: emulator, SHAPE))
    core.initializeDevice("Dmd")  # which the core only logs
    with pytest.raises(DeviceError, match="do not fit"):
        core.loadSLMSequence("Dmd", gratings(2))
    end_core(core)
    assert emulator.closed


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted by /proc")
def test_an_ended_core_calls_python_no_more() -> None:
    """Its thread is gone, while the core is still there: garbage that is collected anywhere."""
    core = empty_core()
    before = set(os.listdir("/proc/self/task"))
    end_core(core)
    assert before - set(os.listdir("/proc/self/task"))
    assert core.getLoadedDevices() == ("Core",)
