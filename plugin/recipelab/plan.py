"""The plan of a campaign: what a user asks for, as command line, JSON and lineage hold it."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from recipelab.budget import BudgetLimits
from recipelab.core.content import read_limited
from recipelab.core.errors import RecipelabError, unknown_name, validation_problems
from recipelab.core.registry import Registry

if TYPE_CHECKING:
    from recipelab.core.trial import Trust
    from recipelab.lineage import CampaignRecord
    from recipelab.packs.judging_sections import Metric
    from recipelab.team.speakers import SpeakerFactory
    from recipelab.trackers.base import TrackerFactory


class Arm(StrEnum):
    """The agents that work on a campaign; all but ``specialists`` are controls to compare with."""

    SPECIALISTS = "specialists"
    GENERIC = "generic"
    SINGLE = "single"
    NO_LINEAGE = "no-lineage"


class KeepArtifacts(StrEnum):
    """Of which trials artifacts are kept."""

    BEST = "best"
    """The head of the working line and the certified recipe."""
    ALL = "all"
    """Every trial that was measured."""
    NONE = "none"


OFFLINE = "offline"
"""The model that writes no code of its own."""

CREDIT = "credit"
"""The speaker policy of a plan that names none."""

MODEL = "model"
"""The speaker policy that asks a model."""

LOCAL_PLACE = "local"
"""The place of a plan that names none: this machine."""

SPEAKERS: Registry[SpeakerFactory] = Registry(
    "speaker policy",
    "recipelab.speakers",
    {
        CREDIT: "recipelab.team.speakers:UCBSpeaker",
        "round-robin": "recipelab.team.speakers:RoundRobin",
        MODEL: "recipelab.team.speakers:ModelSpeaker",
    },
)
"""The policies that pick the next speaker, by name; see
:class:`recipelab.team.speakers.SpeakerPolicy`."""


TRACKERS: Registry[TrackerFactory] = Registry(
    "tracker",
    "recipelab.trackers",
    {
        "mlflow": "recipelab.trackers.mlflow:MLflowTracker",
        "wandb": "recipelab.trackers.wandb:WandbTracker",
        "tensorboard": "recipelab.trackers.tensorboard:TensorBoardTracker",
    },
)
"""The trackers of experiments by name; see :class:`recipelab.trackers.Tracker`."""


def tracker_name(spec: str) -> tuple[str, str]:
    """Return name and place of a tracker that is named as ``NAME`` or ``NAME:WHERE``.

    Raises:
        RecipelabError: No tracker has that name; the valid ones are listed.
    """
    name, _, where = spec.partition(":")
    if name not in TRACKERS:
        raise RecipelabError(unknown_name(TRACKERS.what, name, TRACKERS.names()))
    return name, where


SavedModel = str | dict[str, Any]
"""A model: a specification as after ``--model``, or a dumped AutoGen component without keys."""

LARGEST_SEED = 2**63 - 1
"""A lineage stores integers of 64 bits."""

Asked = TypeVar("Asked", bound=BaseModel)

PLAN = "plan"
"""Key of the plan in a campaign's settings in the lineage."""


class Plan(BaseModel):
    """What a user asks of a campaign.

    Attributes:
        name: Name of the campaign; ``None`` takes the first free one.
        pack: Name or path of the task pack.
        profile: Profile of the pack; ``None`` for its default.
        model: The model of each specialist without one of its own.
        models: Models of single specialists, by name; ``selector`` is the one that picks speakers.
        base_url: Address of an OpenAI-compatible server for models given by name.
        max_tokens: Tokens of one answer at most, for models given by name; ``None`` leaves it to
            the provider.
        prices: A file with prices of models; ``None`` uses the catalogue alone.
        seed: Seed of the offline model's choices.
        limits: What may be spent.
        sandbox: ``auto``, ``docker`` or ``local``.
        place: Where phases run: ``local``, or a place with nodes; see
            :data:`recipelab.places.base.PLACES`. It is checked when a session opens: a plan can be
            read where its place is not installed.
        place_options: What the place is told besides, as ``{"address": "auto"}``.
        slots: Phases that run at the same time; ``None`` reads the machine.
        share_devices: Whether slots may share devices, with each other and other campaigns.
        priors: Campaigns of the lineage that agents may ask about, besides this one.
        arm: The agents that work on it.
        specialists: Names of the charters to work with; empty for those that the pack names.
        speakers: Name of the policy that picks the next speaker; see :data:`SPEAKERS`.
        exploration: How much ``credit`` explores; 0 follows past gains alone.
        ahead: Trials that may be proposed before a slot is free for them; ``None`` measures how
            many keep the slots busy.
        turns: Turns of specialists in a round; ``None`` takes two for each.
        characters: How much the context of a turn holds, in characters; ``None`` for the default.
        approve: Whether a person is asked before each trial.
        follows: The campaign of the epoch before, whose best recipe is the first trial; ``None``
            for a campaign that begins by itself.
        keep_artifacts: Of which trials the artifacts are kept.
        accept_self_reported: Whether a real model may work on a pack whose recipe says its own
            score.
        track: Trackers that the trials are sent to, each as ``NAME`` or ``NAME:WHERE``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    pack: str
    profile: str | None = None
    model: SavedModel = OFFLINE
    models: dict[str, SavedModel] = Field(default_factory=dict)
    base_url: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    prices: str | None = None
    seed: int = Field(default=0, ge=-LARGEST_SEED, le=LARGEST_SEED)
    limits: BudgetLimits = BudgetLimits()
    sandbox: str = "auto"
    place: str = LOCAL_PLACE
    place_options: dict[str, str] = Field(default_factory=dict)
    slots: int | None = Field(default=None, ge=1)
    share_devices: bool = False
    priors: tuple[str, ...] = ()
    arm: Arm = Arm.SPECIALISTS
    specialists: tuple[str, ...] = ()
    speakers: str = CREDIT
    exploration: float = Field(default=0.7, ge=0)
    ahead: int | None = Field(default=None, ge=0)
    turns: int | None = Field(default=None, ge=1)
    characters: int | None = Field(default=None, ge=1000)
    approve: bool = False
    follows: str | None = None
    keep_artifacts: KeepArtifacts = KeepArtifacts.BEST
    accept_self_reported: bool = False
    track: tuple[str, ...] = ()

    @field_validator("track")
    @classmethod
    def _check_track(cls, specs: tuple[str, ...]) -> tuple[str, ...]:
        for spec in specs:
            try:
                tracker_name(spec)
            except RecipelabError as error:
                raise ValueError(str(error)) from None
        return tuple(dict.fromkeys(specs))

    @field_validator("speakers")
    @classmethod
    def _check_speakers(cls, name: str) -> str:
        if name not in SPEAKERS:
            raise ValueError(unknown_name(SPEAKERS.what, name, SPEAKERS.names()))
        return name

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^\s/]\S*", url):
            raise ValueError("an address of a server begins with http:// or https://")
        return url

    @property
    def blind(self) -> bool:
        """Whether agents learn nothing of past trials."""
        return self.arm is Arm.NO_LINEAGE

    @property
    def has_real_model(self) -> bool:
        """Whether a language model works on it, beside or in place of the rules of ``offline``."""
        return any(model_name(one) != OFFLINE for one in (self.model, *self.models.values()))

    @property
    def model_name(self) -> str:
        """The name of the model."""
        return model_name(self.model)


def asked(what: type[Asked], **values: Any) -> Asked:
    """Return what a user asks for: a :class:`Plan`, or limits of one.

    Args:
        what: The class.
        **values: Its fields.

    Raises:
        RecipelabError: A value is out of range; each is named with its range.
    """
    try:
        return what(**values)
    except ValidationError as error:
        raise RecipelabError("\n".join(validation_problems(error, root="arguments"))) from None


_CLIENTS = {
    "openaichatcompletionclient": "openai",
    "azureopenaichatcompletionclient": "azure",
    "anthropicchatcompletionclient": "anthropic",
    "ollamachatcompletionclient": "ollama",
    "offlineclient": OFFLINE,
}
"""The providers of AutoGen's model clients, by the name of the class in small letters."""


def model_name(model: SavedModel) -> str:
    """Return the name of a model, as after ``--model``: ``PROVIDER:NAME`` for a component, too.

    A component around another one, such as a cache, has the name of the one inside.

    Args:
        model: A specification, the path of a component's file, or a component.
    """
    if isinstance(model, str):
        return _name_in_file(model) if model.endswith(".json") else model
    config = model.get("config") or {}
    inside = config.get("client")
    if isinstance(inside, dict) and "provider" in inside:
        return model_name(inside)
    kind = str(model.get("provider", "model")).rpartition(".")[2]
    provider = _CLIENTS.get(kind.replace("_", "").lower(), kind)
    return f"{provider}:{config['model']}" if config.get("model") else provider


def _name_in_file(path: str) -> str:
    try:
        component = json.loads(read_limited(Path(path)).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return path  # Whoever opens it says what is wrong.
    return model_name(component) if isinstance(component, dict) else path


def settings_of(plan: Plan, metric: Metric, trust: Trust) -> dict[str, Any]:
    """Return the settings under which the lineage keeps a campaign.

    Args:
        plan: The campaign's plan.
        metric: The metric of its pack, so that the trials can be shown without the pack's folder.
        trust: How far its scores can be believed.
    """
    from recipelab.lineage.campaigns import PRIORS, TRUST
    from recipelab.lineage.lookup import METRIC

    return {
        PLAN: plan.model_dump(mode="json"),
        METRIC: {"name": metric.name, "unit": metric.unit, "goal": str(metric.goal)},
        TRUST: str(trust),
        PRIORS: list(plan.priors),
    }


def plan_of(record: CampaignRecord) -> Plan:
    """Return the plan under which a campaign was started, with its present limits.

    Raises:
        RecipelabError: Its settings hold no plan, or one that this version cannot read.
    """
    saved = record.settings.get(PLAN)
    if saved is None:
        raise RecipelabError(f"campaign {record.name}: its settings hold no plan")
    try:
        plan = Plan.model_validate(saved)
    except ValidationError as error:
        problems = "\n".join(validation_problems(error, root=PLAN))
        raise RecipelabError(
            f"campaign {record.name}: its plan cannot be read:\n{problems}"
        ) from None
    limits = plan.limits.model_copy(update={"trials": record.trials, "hours": record.hours})
    return plan.model_copy(update={"name": record.name, "limits": limits})
