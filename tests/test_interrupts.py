"""Interrupts that come while Python ignores exceptions: JAX is called at garbage collections."""

import gc
import signal
import subprocess
import sys
import time

import pytest

from lmmlite_jax import interrupts
from lmmlite_jax.interrupts import interruptible

COLLECTED = """
import gc, signal, sys
def interrupt(*_):
    if "jax.numpy" in sys.modules:
        gc.callbacks.clear()
        print("interrupted", flush=True)
        signal.raise_signal(signal.SIGINT)
gc.callbacks.append(interrupt)
gc.set_threshold = lambda *_: None  # the command makes them rare, and imports are over by then
"""

COMMAND = ["herit", "--pheno", "none.csv", "--kinship", "none.csv"]
"""That imports JAX, and ends when it finds no file."""


@pytest.fixture
def _in_the_foreground():
    """Interrupts raise, though the tests may be in a background job, where they are ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_in_the_foreground")
@pytest.mark.parametrize("late", [0, 2])
def test_an_interrupt_during_garbage_collection_is_raised_after_it(late, monkeypatch):
    """Even if what is sent again comes right before a system call, which it does not end."""
    send, missed = interrupts._interrupt_main_thread, [None] * late
    monkeypatch.setattr(
        interrupts, "_interrupt_main_thread", lambda: missed.pop() if missed else send()
    )

    def interrupt(phase, _):
        if phase == "start":
            gc.callbacks.remove(interrupt)
            signal.raise_signal(signal.SIGINT)

    started = time.monotonic()
    report, handler = sys.unraisablehook, signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible():  # noqa: PT012 (an interrupt is late)
        gc.callbacks.append(interrupt)
        gc.collect()
        time.sleep(30)
    assert time.monotonic() - started < 20
    assert not missed
    assert sys.unraisablehook is report
    assert signal.getsignal(signal.SIGINT) is handler


def test_other_exceptions_that_are_ignored_are_reported_as_before(monkeypatch):
    class Broken:
        def __del__(self):
            raise ArithmeticError

    reported = []
    monkeypatch.setattr(sys, "unraisablehook", lambda one: reported.append(one.exc_type))
    with interruptible():
        Broken()
    assert reported == [ArithmeticError]


def test_an_interrupt_during_imports_ends_the_command():
    program = COLLECTED + "from lmmlite_jax.__main__ import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", program, *COMMAND],
        capture_output=True,
        # The tests may run in a background job, where interrupts are ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert ended.returncode == -signal.SIGINT
    assert ended.stdout == b"interrupted\n"
    assert ended.stderr == b""


def test_a_command_in_the_background_goes_on_ignoring_interrupts():
    program = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + COLLECTED
    program += "from lmmlite_jax.__main__ import main; main()"
    ended = subprocess.run([sys.executable, "-c", program, *COMMAND], capture_output=True)
    assert ended.stdout == b"interrupted\n"
    assert ended.returncode == 2
    assert b"no such file" in ended.stderr
