"""The command ``lmmlite-jax``, before JAX is imported.

During imports an interrupt (Ctrl-C) may come where Python ignores exceptions, and be lost: see
`lmmlite_jax.interrupts`. As nothing is read or written by then, it may end the process.
"""

import atexit
import gc
import os
import signal
import sys
from importlib.metadata import version

from lmmlite_jax.model.programs import older_loops

__all__ = ["command", "main", "start_soon"]

_INTERRUPTED = 130

_MOST_NEW_OBJECTS = 500_000
"""New objects after which garbage is looked for. Imports and traces make many, and hardly any."""


class _End:
    """The end of a process, where its memory is given back all at once.

    Python would free object after object and look for garbage before: 0.1 to 0.2 s.
    """

    status: int | None = None
    """What the process ends with; None where the command line does not say so."""

    def __call__(self) -> None:
        if self.status is not None:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:  # it was closed before the process began
                    stream.flush()
            os._exit(self.status)


def command() -> None:
    """Run the command line as all that this process does."""
    end = _End()
    atexit.register(end)  # before imports register what is to be called, which then comes first
    try:
        main()
    except SystemExit as ended:
        if isinstance(ended.code, int):
            end.status = ended.code
        raise


def main() -> None:
    """Run the command line."""
    # Not where interrupts are ignored, as in jobs that a shell has put into the background.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    start_soon()
    from lmmlite_jax.cli import app

    try:
        app()
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            # All is said and closed. Threads of JAX may still be at work, which Python cannot stop:
            # a process that they outlive ends late, or in a segmentation fault.
            os._exit(_INTERRUPTED)
        raise


def start_soon() -> None:
    """Set what lets a process come to its first result sooner, before JAX is imported."""
    gc.set_threshold(_MOST_NEW_OBJECTS)
    options = older_loops(version("jaxlib"))  # XLA ends a process whose flag it does not know
    if options and "XLA_FLAGS" not in os.environ:
        flags = (f"--{option}={str(value).lower()}" for option, value in options.items())
        os.environ["XLA_FLAGS"] = " ".join(flags)


if __name__ == "__main__":
    command()
