"""Optional dependencies, imported when they are needed and not before."""

import importlib
from types import ModuleType
from typing import Any

__all__ = ["require"]


def require(module: str, extra: str) -> Any:
    """Import `module`, or say which extra of the package brings it."""
    try:
        imported: ModuleType = importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise ModuleNotFoundError(
            f"{package} is needed for this and is not installed: "
            f"pip install 'lmmlite-jax[{extra}]'.",
            name=error.name,
        ) from error
    return imported
