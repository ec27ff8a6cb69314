"""Samples in files: Parquet, CSV and JSON lines, out of a server and into one, without a loss.

    from streamgauge import Client, files

    with Client.from_env() as client:
        files.export_to(client, "orders.parquet", ["sources/orders"])
        files.import_from(client, "orders.parquet")

All three formats have the same columns, one row per sample; see `streamgauge.files.runs`. Parquet needs
`streamgauge[parquet]`.
"""

from __future__ import annotations

from streamgauge.files.exporting import ExportOutcome, ExportProgress, export_to
from streamgauge.files.formats import FileFormat
from streamgauge.files.importing import ImportOutcome, ImportProgress, Refused, import_from
from streamgauge.files.runs import FileError

__all__ = [
    "ExportOutcome",
    "ExportProgress",
    "FileError",
    "FileFormat",
    "ImportOutcome",
    "ImportProgress",
    "Refused",
    "export_to",
    "import_from",
]
