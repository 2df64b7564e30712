"""Figures, tables and a page from the files that a sweep or a run leaves.

It reads files only and runs without JAX. Importing it loads Polars, and writing a report loads
Matplotlib and Jinja2, so import it where a report is asked for.
"""

from xception_jax.report.writing import ReportResult, write_report

__all__ = ["ReportResult", "write_report"]
