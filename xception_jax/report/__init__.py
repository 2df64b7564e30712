"""Figures, tables and a page from the files that a sweep or a run leaves.

Reads files only: it knows nothing of JAX. Importing it loads Polars, so import it where
a report is asked for.
"""

from xception_jax.report.writing import ReportResult, write_report

__all__ = ["ReportResult", "write_report"]
