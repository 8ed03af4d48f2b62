"""Who works on a campaign, and who picks the next speaker: the closed lists."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recipelab.budget import BudgetLimits
from recipelab.core.errors import RecipelabError
from recipelab.lineage import CampaignRecord
from recipelab.lineage.campaigns import PRIORS


class Arm(StrEnum):
    """Who works on a campaign; all but ``specialists`` are controls to compare with."""

    SPECIALISTS = "specialists"
    GENERIC = "generic"
    SINGLE = "single"
    NO_LINEAGE = "no-lineage"


class Speakers(StrEnum):
    """Who picks the next speaker."""

    CREDIT = "credit"
    ROUND_ROBIN = "round-robin"
    MODEL = "model"


SavedModel = str | dict[str, Any]
"""A model: a specification as after ``--model``, or a dumped AutoGen component without keys."""

PLAN = "plan"
"""Key of a campaign's settings that holds its plan."""


class Plan(BaseModel):
    """What a user asks for.

    Attributes:
        name: Name of the campaign; ``None`` takes the first free one.
        pack: Name or path of the task pack.
        profile: Profile of the pack; ``None`` for its default.
        model: The model of every specialist that has none of its own.
        models: Models of single specialists, by name; ``selector`` is the one that picks speakers.
        base_url: Address of an OpenAI-compatible server for models given by name.
        prices: A file with prices of models; ``None`` uses the catalogue alone.
        seed: Seed of the offline model's choices.
        limits: What may be spent.
        sandbox: ``auto``, ``docker`` or ``local``.
        slots: Phases that run at the same time; ``None`` reads the machine.
        share_devices: Whether slots may share devices, with each other and other campaigns.
        priors: Campaigns of the lineage that agents may ask about, besides this one.
        arm: Who works on it.
        specialists: Charters to work with; none for those that the pack names.
        speakers: Who picks the next speaker.
        exploration: How much ``credit`` explores; 0 goes where gains were alone.
        ahead: Trials that are proposed before there is a slot for them; ``None`` measures how many
            it takes to keep the slots busy.
        turns: Turns of specialists in a round; ``None`` takes two for each.
        characters: How much the context of a turn holds, in characters; ``None`` for the default.
        approve: Whether a person is asked before each trial.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    pack: str
    profile: str | None = None
    model: SavedModel = "offline"
    models: dict[str, SavedModel] = Field(default_factory=dict)
    base_url: str | None = None
    prices: str | None = None
    seed: int = 0
    limits: BudgetLimits = BudgetLimits()
    sandbox: str = "auto"
    slots: int | None = Field(default=None, ge=1)
    share_devices: bool = False
    priors: tuple[str, ...] = ()
    arm: Arm = Arm.SPECIALISTS
    specialists: tuple[str, ...] = ()
    speakers: Speakers = Speakers.CREDIT
    exploration: float = Field(default=0.7, ge=0)
    ahead: int | None = Field(default=None, ge=0)
    turns: int | None = Field(default=None, ge=1)
    characters: int | None = Field(default=None, ge=1000)
    approve: bool = False

    @property
    def blind(self) -> bool:
        """Whether agents are told nothing of past trials."""
        return self.arm is Arm.NO_LINEAGE

    @property
    def model_name(self) -> str:
        """The model in a word."""
        return model_name(self.model)


def model_name(model: SavedModel) -> str:
    """A model in a word: its specification, or what its component says of itself."""
    if isinstance(model, str):
        return model
    config = model.get("config", {})
    label = model.get("label") or str(model.get("provider", "model")).rpartition(".")[2]
    return f"{label}:{config['model']}" if "model" in config else str(label)


def settings_of(plan: Plan) -> dict[str, Any]:
    """What a campaign's settings hold of its plan."""
    return {PLAN: plan.model_dump(mode="json"), PRIORS: list(plan.priors)}


def plan_of(record: CampaignRecord) -> Plan:
    """The plan under which a campaign was started.

    Raises:
        RecipelabError: Its settings hold none that this version can read.
    """
    saved = record.settings.get(PLAN)
    if not isinstance(saved, Mapping):
        raise RecipelabError(f"campaign {record.name}: its settings hold no plan")
    try:
        plan = Plan.model_validate(saved)
    except ValidationError as error:
        raise RecipelabError(f"campaign {record.name}: its plan cannot be read: {error}") from None
    limits = plan.limits.model_copy(update={"trials": record.trials, "hours": record.hours})
    return plan.model_copy(update={"name": record.name, "limits": limits})
