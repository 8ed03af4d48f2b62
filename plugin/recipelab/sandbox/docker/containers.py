"""The containers of this program that a daemon has, whoever started them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from docker import APIClient

from recipelab.sandbox.docker.options import LABEL_PREFIX, OWNER_LABEL, SANDBOX_LABEL
from recipelab.sandbox.owner import OwnerState, owner_state

IMAGE_LABEL_PREFIX = f"{LABEL_PREFIX}image."
"""Labels of images, which Docker hands on to their containers."""

_OURS = {"label": OWNER_LABEL}


@dataclass(frozen=True)
class OwnedContainer:
    """One container.

    Attributes:
        id: Its full id.
        image: Name or id of its image.
        state: Docker's word for its state, as ``running``.
        created: When it was made, in seconds since 1970.
        owner: Identity of the process that asked for it.
        labels: What it belongs to: phase, campaign, trial, seed.
    """

    id: str
    image: str
    state: str
    created: int
    owner: str
    labels: Mapping[str, str]

    @property
    def owner_state(self) -> OwnerState:
        """Whether its owner lives."""
        return owner_state(self.owner)

    @property
    def short_id(self) -> str:
        """The id as Docker shows it."""
        return self.id[:12]


def list_containers(api: APIClient) -> tuple[OwnedContainer, ...]:
    """All containers of this program, the oldest first.

    Raises:
        docker.errors.DockerException: The daemon failed.
        requests.RequestException: The daemon does not answer.
    """
    found = [_container(facts) for facts in api.containers(all=True, filters=_OURS)]
    return tuple(sorted(found, key=lambda container: (container.created, container.id)))


def _container(facts: dict[str, object]) -> OwnedContainer:
    labels = facts["Labels"]
    assert isinstance(labels, dict)
    return OwnedContainer(
        id=str(facts["Id"]),
        image=str(facts["Image"]),
        state=str(facts["State"]),
        created=int(str(facts["Created"])),
        owner=labels[OWNER_LABEL],
        labels={
            name.removeprefix(LABEL_PREFIX): value
            for name, value in sorted(labels.items())
            if name.startswith(LABEL_PREFIX)
            and name not in (OWNER_LABEL, SANDBOX_LABEL)
            and not name.startswith(IMAGE_LABEL_PREFIX)
        },
    )
