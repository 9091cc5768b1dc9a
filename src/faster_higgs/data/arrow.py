"""The library of Arrow and Parquet tables, or the sentence that says how to get it."""

from __future__ import annotations

from typing import Any

from faster_higgs.errors import MissingExtra


def arrow() -> Any:
    """pyarrow, with its file formats. Raises MissingExtra."""
    try:
        import pyarrow as pa
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra(
            "Training data needs pyarrow; install the extra with "
            "`pip install 'faster-higgs[train]'`."
        ) from None
    return pa
