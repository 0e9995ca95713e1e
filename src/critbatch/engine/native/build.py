"""From C source to a function: find a compiler, compile once, keep the result on disk."""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from scipy.linalg import cython_blas

from ...cache import cache_folder
from .values import Passing

FLAGS = (
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-strict-aliasing",
    "-fopenmp-simd",
    "-w",
    "-shared",
    "-fPIC",
)
TUNED = ("-march=native",)  # left out where the compiler does not know it
COMPILERS = ("cc", "gcc", "clang")


@final
class Library:
    """A compiled program, ready to be called. The shared object stays loaded as long as the process lives."""

    def __init__(self, path: Path) -> None:
        loaded = ctypes.CDLL(str(path))
        loaded.connect.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        loaded.connect(*matrix_products())
        self.run: Any = loaded.run
        self.run.restype = ctypes.c_long


@functools.cache
def compiler() -> str | None:
    """Return the path of a C compiler, that of the environment variable CC first; None if there is none."""
    for name in (os.environ.get("CC", ""), *COMPILERS):
        if name and (found := shutil.which(name)):
            return found
    return None


@functools.cache
def _described(command: str) -> str:
    try:
        asked = subprocess.run([command, "--version"], capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return command  # it will say what is wrong when it has to compile
    return asked.stdout.splitlines()[0] if asked.stdout else command


@functools.cache
def processor() -> str:
    """Return what tells this processor from others: compiled code is tied to it, and so are times."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def load(name: str) -> Library | None:
    """Return the library that `compiled` kept under this name, or None if it is not there."""
    path = cache_folder() / name
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if path.with_suffix(".sum").read_text() == _sum(path):  # loading a damaged library would kill the process
            return Library(path)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    return None


def _sum(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def compiled(source: str, *, seconds: float) -> tuple[Library, str]:
    """Return the library of a C source and its name in the cache, where it is kept for this compiler and processor.

    Args:
        source: Exports `connect` and `run`.
        seconds: How long the compiler may take.

    Raises:
        Passing: If there is no compiler, or it fails or takes too long.
    """
    command = compiler()
    if command is None:
        raise Passing(f"there is no C compiler ({', '.join(COMPILERS)}, or the one that CC names)")
    about = "\0".join([source, _described(command), processor(), *FLAGS, *TUNED])
    path = cache_folder() / f"{hashlib.blake2b(about.encode(), digest_size=16).hexdigest()}.so"
    found = load(path.name)
    for _ in range(2):  # another process may find the file half there and take it away
        if found is not None:
            break
        try:
            _compile(command, source, path, seconds)
        except OSError as error:
            raise Passing(f"nothing can be kept in {path.parent} ({error.strerror})") from error
        found = load(path.name)
    if found is None:
        raise Passing("the compiled step cannot be loaded")
    return found, path.name


def _compile(command: str, source: str, path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        text, made = Path(folder) / "step.c", Path(folder) / "step.so"
        text.write_text(source)
        said = ""
        for flags in ((*FLAGS, *TUNED), FLAGS):
            said = _said([command, *flags, "-o", str(made), str(text), "-lm"], seconds)
            if made.exists():
                checksum = Path(folder) / "step.sum"
                checksum.write_text(_sum(made))
                checksum.replace(path.with_suffix(".sum"))
                made.replace(path)  # whole or not at all, and last: another process may be at it too
                return
        raise Passing(f"the C compiler failed: {said}")


def _said(command: Sequence[str], seconds: float) -> str:
    try:
        # a session of its own, so that what the compiler has started ends with it
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
        ) as process:  # fmt: skip
            try:
                _, said = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                _end(process)
                raise Passing(f"the C compiler took longer than {seconds:.0f} s, more than it could save") from None
    except OSError as error:
        return str(error)
    return (said.strip().splitlines() or [f"exit code {process.returncode}"])[0][:200]


def _end(process: subprocess.Popen[str]) -> None:
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


@functools.cache
def matrix_products() -> tuple[int, int]:
    """Return the addresses of the BLAS functions sgemm and dgemm: those of torch, where it exports them, else SciPy's."""
    name = {"darwin": "libtorch_cpu.dylib", "win32": "torch_cpu.dll"}.get(sys.platform, "libtorch_cpu.so")
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name))
        return tuple(_address(getattr(library, one)) for one in ("sgemm_", "dgemm_"))  # pyrefly: ignore
    except (OSError, AttributeError):
        return tuple(_capsule(cython_blas.__pyx_capi__[one]) for one in ("sgemm", "dgemm"))  # pyrefly: ignore


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _capsule(capsule: Any) -> int:
    name, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return pointer(capsule, name(capsule))
