"""The simulated microscope's devices: ordinary Python devices of pymmcore-plus's UniMMCore.

They share one ``SimulatedInstrument`` (the optical bench, the DMD's display, the trigger cable and
the stage's position). They are driven by the same core calls as hardware.
"""
