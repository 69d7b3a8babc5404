"""Machine code of numba's C functions, kept between runs and loaded without numba.

numba's own cache gives back what it compiled only after importing all of numba and registering
its types, over a second of processor time in each process that needs a function of a few lines.
llvmlite, on which numba stands, loads the machine code in a tenth of that.

The code is kept for one processor and one version of numba, llvmlite and the source: in the folder
``NUMBA_CACHE_DIR`` names, else beside the source, else in the user's cache folder.
"""

import contextlib
import ctypes
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

__all__ = ["compiled_for", "load"]

_Made = TypeVar("_Made")

_PACKAGES = ("numba", "llvmlite")


def load(module: str, functions: Mapping[str, Sequence[Any]]) -> dict[str, Callable[..., None]]:
    """Return C functions that a module has decorated with ``numba.cfunc``.

    They release Python's lock while they run.

    Parameters
    ----------
    module : str
        Imported only if its code has not been kept.
    functions : mapping
        The types (of ctypes) of the arguments of each; none returns anything.

    Raises
    ------
    ImportError
        If numba is not installed.
    RuntimeError
        If the functions need anything but their arguments: machine code cannot be kept then.
    """
    target = _target()
    code = _kept(module, target, tuple(functions))
    engine = _engine(code, target)
    return {
        name: ctypes.CFUNCTYPE(None, *types)(engine.get_function_address(name))
        for name, types in functions.items()
    }


def compiled_for(device: "torch.device", make: Callable[[], _Made]) -> _Made | None:
    """Return what ``make`` makes of compiled code; None on a GPU, or without numba."""
    if device.type != "cpu":
        return None
    try:
        return make()
    except ImportError:
        return None


@functools.cache
def _target() -> Any:
    """Return LLVM's description of this processor."""
    import llvmlite.binding as llvm  # type: ignore[import-untyped]  # not on every server

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(llvm.get_host_cpu_name(), features, opt=3)


@functools.cache
def _engine(code: bytes, target: Any) -> Any:
    """Return what holds loaded code; kept, for the code goes with it."""
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def _kept(module: str, target: Any, names: tuple[str, ...]) -> bytes:
    """Return the machine code of a module, kept from an earlier run or compiled now."""
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    source = Path(found.origin)
    name = f"{source.stem}.{_key(source, names)}.o"
    folders = _folders(source)
    for folder in folders:
        with contextlib.suppress(OSError):
            return (folder / name).read_bytes()
    code = _compiled(module, target, names)
    for folder in folders:
        with contextlib.suppress(OSError):
            _write(folder / name, code)
            break
    return code


def _key(source: Path, names: tuple[str, ...]) -> str:
    """Return a hash of all that machine code depends on."""
    import llvmlite.binding as llvm

    versions = [importlib.metadata.version(package) for package in _PACKAGES]
    processor = [llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()]
    parts = [llvm.get_process_triple(), *processor, *versions, *names]
    kernels = sorted(source.parent.glob("*_kernel.py"))  # one may use functions of another
    sources = b"".join(file.read_bytes() for file in (source, *kernels, Path(__file__)))
    return hashlib.sha256("\0".join(parts).encode() + sources).hexdigest()[:16]


def _folders(source: Path) -> list[Path]:
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        return [Path(named)]
    return [source.parent / "__pycache__", Path.home() / ".cache" / "livetomo"]


def _write(path: Path, code: bytes) -> None:
    """Write a file that other processes see whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(code)
    Path(file.name).replace(path)


def _compiled(module: str, target: Any, names: tuple[str, ...]) -> bytes:
    """Return one object file with these functions of a module, under their own names."""
    import llvmlite.binding as llvm

    whole = llvm.parse_assembly("")
    made = importlib.import_module(module)
    for name in names:
        function = getattr(made, name)
        whole.link_in(_alone(function.inspect_llvm(), function.native_name, name, target))
    return bytes(target.emit_object(whole))


def _alone(text: str, native: str, name: str, target: Any) -> Any:
    """Return a module of LLVM with one function, under a new name.

    numba's reports of errors go: where none can occur, the optimiser finds that they are not used.
    """
    import llvmlite.binding as llvm

    unit = llvm.parse_assembly(text.replace(native, name))
    for function in unit.functions:
        if not function.is_declaration and function.name != name:
            function.linkage = llvm.Linkage.internal
    passes = llvm.create_new_module_pass_manager()
    passes.add_ipsccp_pass()
    passes.add_simplify_cfg_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(unit, llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(3)))
    needed = [f.name for f in unit.functions if f.is_declaration and "llvm." not in f.name]
    if needed:
        raise RuntimeError(
            f"a function whose machine code is kept must need its arguments only, {name} needs "
            f"{needed}: allocate nothing in it, and use numba's error model of numpy"
        )
    return unit
