"""The command ``lmmlite-jax``, before the package and with it JAX is imported.

During imports an interrupt (Ctrl-C) may come where Python ignores exceptions, and be lost: see
`lmmlite_jax.faces.interrupts`. As nothing is read or written by then, it may end the process.
"""

import signal

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    # Not where interrupts are ignored, as in jobs that a shell has put into the background.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from lmmlite_jax.faces.cli import app

    app()
