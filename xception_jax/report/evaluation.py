"""What a report says of a sweep in numbers and words, before anything is drawn."""

import io
import json
from dataclasses import dataclass

import polars as pl

from xception_jax.report.checklist import checklist
from xception_jax.report.summary import Summary, summarize
from xception_jax.statistics.audit import audit
from xception_jax.statistics.json_types import Audit, Verdicts
from xception_jax.statistics.results import Sweep
from xception_jax.statistics.verdicts import judge


@dataclass(frozen=True)
class Evaluation:
    """The numbers of a report.

    Attributes:
        sweep: what was read.
        summary: the numbers of the sweep by run and arm.
        findings: what `audit` found.
        verdicts: what `verdicts.json` holds.
    """

    sweep: Sweep
    summary: Summary
    findings: Audit
    verdicts: Verdicts

    def verdicts_file(self) -> bytes:
        """The content of `verdicts.json`."""
        return json.dumps(self.verdicts, indent=2, allow_nan=False).encode()

    def checklist_file(self) -> bytes:
        """The content of `checklist.md`."""
        return checklist(self.sweep, self.summary, self.findings, self.verdicts).encode()


def evaluate(sweep: Sweep) -> Evaluation:
    """Sums up a sweep, audits its pairs and judges its claims."""
    findings = audit(sweep)
    return Evaluation(sweep, summarize(sweep), findings, judge(sweep, findings))


def as_parquet(frame: pl.DataFrame) -> bytes:
    """A table as Parquet, in little space."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=19)
    return buffer.getvalue()
