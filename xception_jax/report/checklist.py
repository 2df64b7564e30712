"""`checklist.md`: questions that reviewers ask, answered as far as the records of a sweep can.

The questions are those of the NeurIPS Paper Checklist (2025) and of REFORMS (Kapoor et al., Science
Advances 10, eadk3452, 2024), in words of our own and with their numbers. An answer holds what the
records say and nothing else. What they do not say stays open, for the authors.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from xception_jax.report import checklist_answers as answers
from xception_jax.report import checklist_data as records
from xception_jax.report.checklist_facts import Facts
from xception_jax.report.summary import Summary
from xception_jax.statistics.json_types import Audit, Verdicts
from xception_jax.statistics.results import Sweep

Answer = Callable[[Facts], list[str]]
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#&~])")
_INTRODUCTION = """\
Answers come from the records of this sweep alone; `[ ]` is open, in whole or in part, and for the
authors. The questions are paraphrased: read the originals before you submit.

* NeurIPS Paper Checklist (2025), <https://neurips.cc/public/guides/PaperChecklist>
* REFORMS: Kapoor et al., *REFORMS: Consensus-based Recommendations for Machine-learning-based
  Science*, Science Advances 10 (18), eadk3452, 2024, <https://doi.org/10.1126/sciadv.adk3452>
"""


@dataclass(frozen=True)
class Question:
    """A question of a checklist.

    Attributes:
        number: number of the question in its checklist.
        text: the question, in our words.
        answer: gives the sentences that answer it; none where the records do not say.
        rest: the part of an answer that no record can give; empty where an answer is whole.
    """

    number: str
    text: str
    answer: Answer | None = None
    rest: str = ""


NEURIPS = (
    Question("1", "Do the claims of the text match the results?", answers.claims,
             "whether abstract and introduction say the same, and no more"),
    Question("2", "Are limitations discussed?", answers.limits, "their discussion in the paper"),
    Question("3", "Are theoretical results proved?"),
    Question("4", "Can the main results be reproduced from what is disclosed?",
             records.reproduction),
    Question("5", "Are code and data accessible?", records.code_and_data,
             "where code and data can be had, and instructions"),
    Question("6", "Are splits and hyperparameters given, and how they were chosen?",
             answers.settings, "why these values"),
    Question("7", "Are there error bars or tests, and is it said what they are?", answers.errors),
    Question("8", "Is the compute stated, of each run and of all?", records.compute,
             "memory and storage; compute of preliminary work in other directories"),
    Question("9", "Does the work conform to the code of ethics?"),
    Question("10", "Are effects on society discussed?"),
    Question("11", "Are there safeguards for what could be misused?"),
    Question("12", "Are existing assets credited, and their licences respected?", records.licences,
             "citations and terms of use; licences of code and weights"),
    Question("13", "Are new assets documented?"),
    Question("14", "Are instructions and pay of participants or crowd workers given?"),
    Question("15", "Were risks to participants reviewed by a board?"),
    Question("16", "Is the use of language models declared, where it is a part of the method?"),
)  # fmt: skip
REFORMS = (
    Question("1a", "Which population is the claim about?"),
    Question("1b", "Why that population?"),
    Question("1c", "Why machine learning?"),
    Question("2a", "Which data, and where can exactly these be had?", records.data,
             "a link or DOI"),
    Question("2b", "Which code, and where can exactly this version be had?", records.code,
             "a link or DOI"),
    Question("2c", "On which computers and software?", records.infrastructure,
             "operating system and memory"),
    Question("2d", "Is there a README with instructions?"),
    Question("2e", "Is there a script that reproduces all results?", records.script,
             "steps other than this sweep and this report"),
    Question("3a", "Where do data and labels come from, and from when?"),
    Question("3b", "From what were the data sampled, and how?"),
    Question("3c", "Why do these data suit the task?"),
    Question("3d", "What is predicted, and how is it distributed?", records.outcome,
             "the distribution over classes"),
    Question("3e", "How many samples are there?", records.samples, "their number in each class"),
    Question("3f", "How much is missing, by class?", records.missing, "by class"),
    Question("3g", "Do the data represent the population of the claim?"),
    Question("4a", "Were samples excluded, and why?", records.excluded, "why"),
    Question("4b", "What was done about impossible or corrupt samples?", records.corrupt),
    Question("4c", "How were the data transformed for the model?", records.transformed,
             "what was done before the data set was stored"),
    Question("5a", "Which models were trained, on what, with which loss?", answers.models,
             "the loss in words"),
    Question("5b", "Why these kinds of models?"),
    Question("5c", "How were models evaluated, on which splits?", records.evaluation),
    Question("5d", "How were the reported models selected?", answers.selection),
    Question("5e", "How were hyperparameters tuned, within which bounds?", answers.tuning,
             "tuning elsewhere, before this sweep"),
    Question("5f", "Are the baselines appropriate?", answers.baselines, "why these baselines"),
    Question("6a", "Did training use nothing of the test data?", records.separation,
             "choices that people made with the test split in view"),
    Question("6b", "Are there duplicates or dependencies between training and test data?",
             records.duplicates, "near duplicates and other dependencies"),
    Question("6c", "Is every input legitimate for the task?"),
    Question("7a", "Which metrics are used?", answers.metrics),
    Question("7b", "How uncertain are the results, and how was that computed?", answers.errors),
    Question("7c", "Which tests, why, and do their assumptions hold?", answers.tests),
    Question("8a", "What speaks for validity elsewhere?", answers.elsewhere,
             "the case for validity beyond that"),
    Question("8b", "Where are the findings not expected to hold?"),
)  # fmt: skip


def checklist(sweep: Sweep, summary: Summary, audit: Audit, verdicts: Verdicts) -> str:
    """The content of `checklist.md`.

    Args:
        sweep: the sweep.
        summary: the numbers of the sweep.
        audit: the result of `audit`.
        verdicts: the content of `verdicts.json`.
    """
    facts = Facts(sweep, summary, audit, verdicts)
    parts = [f"# Checklist: {escaped(sweep.name)}\n", _INTRODUCTION]
    for title, questions in (("NeurIPS Paper Checklist", NEURIPS), ("REFORMS", REFORMS)):
        answered = [
            (question, question.answer(facts) if question.answer else []) for question in questions
        ]
        whole = sum(bool(sentences) and not question.rest for question, sentences in answered)
        some = sum(bool(sentences) for _, sentences in answered) - whole
        count = f"{len(answered)} questions: {whole} answered from the records, {some} in part, "
        parts.append(f"## {title}\n\n{count}{len(answered) - whole - some} open.\n")
        parts.append("".join(_entry(question, sentences) for question, sentences in answered))
    return "\n".join(parts)


def _entry(question: Question, sentences: list[str]) -> str:
    mark = "x" if sentences and not question.rest else " "
    lines = [f"- [{mark}] **{question.number}.** {question.text}"]
    lines += [f"  - {escaped(sentence)}" for sentence in sentences]
    if not sentences:
        lines.append("  - *Open:* the records do not say.")
    elif question.rest:
        lines.append(f"  - *Open:* {question.rest}.")
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text from a file as Markdown that shows it as it is, and as nothing else."""
    return _SPECIAL.sub(r"\\\1", text)
