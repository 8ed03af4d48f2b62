"""Spans of trials and phases, with the user's own tracer provider."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from recipelab.core.errors import SandboxError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Outcome
from recipelab.evaluation.evaluator import Evaluator
from recipelab.packs.pack import Pack
from recipelab.sandbox import LocalSandbox, PhaseRequest, PhaseResult

LABELS = {"campaign": "c", "trial": "3", "specialist": "left"}


@dataclass
class Spans:
    """The spans that have ended."""

    exporter: InMemorySpanExporter

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


@pytest.fixture(scope="session")
def exporter() -> Iterator[InMemorySpanExporter]:
    """The exporter of this process: OpenTelemetry takes one provider a process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    yield exporter
    provider.shutdown()


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Spans:
    """The spans of one test."""
    exporter.clear()
    return Spans(exporter)


async def test_a_trial_is_a_span_with_its_phases_below(
    spans: Spans, toy: Pack, evaluator: Evaluator
) -> None:
    outcome = await evaluator.evaluate(toy.baseline(), None, labels=LABELS)
    (trial,) = spans.named("recipelab.trial")
    assert dict(trial.attributes or {}) == {
        "recipelab.campaign": "c",
        "recipelab.trial": 3,
        "recipelab.specialist": "left",
        "recipelab.status": "baseline",
        "recipelab.score": outcome.score,
    }
    assert trial.status.status_code is StatusCode.UNSET
    phases = spans.named("recipelab.phase")
    assert len(phases) == 7
    assert trial.context is not None
    for phase in phases:
        assert phase.parent is not None
        assert phase.parent.span_id == trial.context.span_id
        facts = dict(phase.attributes or {})
        assert facts["recipelab.exit"] == 0
        assert facts["recipelab.ending"] == "exited"
        assert facts["recipelab.wall_seconds"] > 0
        assert facts["recipelab.cpu_seconds"] >= 0
        assert ("recipelab.seed" in facts) == (facts["recipelab.phase"] != "preflight")


async def test_a_crash_fails_its_phase_and_its_trial(
    spans: Spans, toy: Pack, evaluator: Evaluator
) -> None:
    edit = Edit("recipe/predict.py", '"""Writes', '1 / 0\n"""Writes')
    recipe = toy.baseline().apply([edit], toy.recipe.editable)
    await evaluator.evaluate(recipe, None, labels=LABELS)
    (trial,) = spans.named("recipelab.trial")
    assert trial.status.status_code is StatusCode.ERROR
    assert trial.status.description == "crashed: value"
    failed = [
        span
        for span in spans.named("recipelab.phase")
        if span.status.status_code is StatusCode.ERROR and not span.events
    ]
    assert failed
    assert {(span.attributes or {})["recipelab.phase"] for span in failed} == {"predict"}
    assert {span.status.description for span in failed} == {"exited, exit code 1"}


class Broken(LocalSandbox):
    """A sandbox whose machinery is gone."""

    async def run(self, request: PhaseRequest) -> PhaseResult:
        raise SandboxError("the daemon is gone")


async def test_failing_machinery_is_recorded(
    spans: Spans, toy: Pack, caplog: pytest.LogCaptureFixture
) -> None:
    outcome: Outcome = await Evaluator(toy, Broken(), {}, retry_seconds=0.001).evaluate(
        Recipe({}), None, labels={}
    )
    assert outcome.status == "aborted"
    (trial,) = spans.named("recipelab.trial")
    assert trial.status.description == "aborted: infrastructure"
    phases = spans.named("recipelab.phase")
    assert len(phases) == 3
    assert all("the daemon is gone" in str(span.status.description) for span in phases)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "attempt=2" in caplog.messages[1]
