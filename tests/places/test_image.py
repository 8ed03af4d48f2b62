"""A node that lacks the image gets it from the driver, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recipelab.places.base import PlaceRequest
from recipelab.places.placed import PlacedSandbox
from recipelab.sandbox.docker.containers import daemon
from recipelab.sandbox.spec import ImageSpec, load_image_spec
from tests.sandbox.conftest import docker_daemon, docker_image, output  # noqa: F401
from tests.sandbox.helpers import phase

from .pipes import PipesPlace

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture
def spec(docker_image: str, tmp_path: Path) -> Iterator[ImageSpec]:  # noqa: F811
    """An image with a name that no other test has."""
    name = f"recipelab/sent-{abs(hash(str(tmp_path))):x}"
    with daemon(timeout=60) as api:
        api.tag(docker_image, name)
        yield load_image_spec("cpu").model_copy(update={"image": name})
        api.remove_image(name)


async def test_the_image_is_sent_once_a_node(
    spec: ImageSpec,
    output: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    said: list[str] = []
    options = {"store": str(tmp_path / "stores"), "nodes": "1"}
    request = PlaceRequest(spec, sandbox="docker", build=False, options=options, say=said.append)
    place = PipesPlace(request)
    # The node's daemon, which is the driver's here, has to lack what the driver has.
    place.placed._archive.open()
    with daemon(timeout=60) as api:
        api.remove_image(spec.image, noprune=True)
    async with place:
        assert [line for line in said if line.startswith("sending the image to node-0")]
        assert place.sandbox.image_identity.startswith(f"docker {spec.image} sha256:")
        (slot,) = place.pool.slots
        asked = replace(phase(output, "open('out/a', 'w').write('a')"), slot=slot.name)
        result = await place.sandbox.run(asked)
        assert result.ok, result.log
        assert result.environment.startswith("docker")
        assert (output / "a").read_text() == "a"
        # A worker that begins there later finds it.
        said.clear()
        other = PlacedSandbox(request)
        await other.join(place.links[slot.name])
        assert said == []
