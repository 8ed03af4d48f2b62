"""Whether the image of a sandbox is there, and still what its files say.

An image carries labels that tell what it was built from, so that this can be told later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from docker import APIClient
from docker.errors import ImageNotFound

from recipelab.sandbox.docker.containers import IMAGE_LABEL_PREFIX
from recipelab.sandbox.images.spec import ImageSpec

SOURCE_LABEL = f"{IMAGE_LABEL_PREFIX}source"
BASE_LABEL = f"{IMAGE_LABEL_PREFIX}base"
BASE_ID_LABEL = f"{IMAGE_LABEL_PREFIX}base-id"


class Freshness(StrEnum):
    """State of an image."""

    BUILT = "built"
    STALE = "stale"
    MISSING = "not built"


@dataclass(frozen=True)
class ImageState:
    """What the daemon has of a sandbox.

    Attributes:
        freshness: Whether the image is there and up to date.
        reason: Why it is stale; empty otherwise.
        id: Digest of the image; empty if it is not there.
        size: Its size in bytes.
    """

    freshness: Freshness
    reason: str = ""
    id: str = ""
    size: int = 0


def image_labels(api: APIClient, spec: ImageSpec, base: str) -> dict[str, str]:
    """The labels of an image that is about to be built.

    Args:
        api: A connection to the daemon.
        spec: The image.
        base: Name of the base image, which the daemon has.
    """
    return {
        SOURCE_LABEL: _source_digest(spec),
        BASE_LABEL: base,
        BASE_ID_LABEL: str(api.inspect_image(base)["Id"]),
    }


def image_state(api: APIClient, spec: ImageSpec) -> ImageState:
    """Compares the image that the daemon has with the files that it is built from."""
    try:
        found = api.inspect_image(spec.image)
    except ImageNotFound:
        return ImageState(Freshness.MISSING)
    reason = _stale(api, spec, found["Config"].get("Labels") or {})
    freshness = Freshness.STALE if reason else Freshness.BUILT
    return ImageState(freshness, reason, str(found["Id"]), int(found["Size"]))


def _stale(api: APIClient, spec: ImageSpec, labels: Mapping[str, str]) -> str:
    if not labels.keys() >= {SOURCE_LABEL, BASE_LABEL, BASE_ID_LABEL}:
        return "it does not say what it was built from"
    if labels[SOURCE_LABEL] != _source_digest(spec):
        return f"{spec.dockerfile}, {spec.requirements.name} or its Python version has changed"
    base = labels[BASE_LABEL]
    try:
        base_id = str(api.inspect_image(base)["Id"])
    except ImageNotFound:
        return ""  # Nothing is known that is newer.
    return "" if base_id == labels[BASE_ID_LABEL] else f"its base {base} has changed"


def _source_digest(spec: ImageSpec) -> str:
    parts = (
        (spec.folder / spec.dockerfile).read_bytes(),
        spec.requirements.read_bytes(),
        spec.python.encode(),
    )
    # Digests of the parts, so that no text can move from one part to the next unnoticed.
    whole = b"".join(hashlib.sha256(part).digest() for part in parts)
    return f"sha256:{hashlib.sha256(whole).hexdigest()}"
