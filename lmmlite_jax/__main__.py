"""The command ``lmmlite-jax``, before JAX is imported.

During imports an interrupt (Ctrl-C) may come where Python ignores exceptions, and be lost: see
`lmmlite_jax.interrupts`. As nothing is read or written by then, it may end the process.
"""

import os
import signal

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    # Not where interrupts are ignored, as in jobs that a shell has put into the background.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from lmmlite_jax.cli import app

    try:
        app()
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            # All is said and closed. Threads of JAX may still be at work, which Python cannot stop:
            # a process that they outlive ends late, or in a segmentation fault.
            os._exit(_INTERRUPTED)
        raise


if __name__ == "__main__":
    main()
