"""What a person may ask of the place ray, and what is refused with words. Needs no Ray."""

from __future__ import annotations

import pytest

from recipelab.core.errors import RecipelabError
from recipelab.places.base import PlaceRequest
from recipelab.places.ray import BridgeSettings, RayPlace, Reserve
from recipelab.sandbox.spec import load_image_spec


def asked(options: str = "", *, gpus: int = 0, share: bool = False) -> PlaceRequest:
    """Return a request with options as they are written, separated by spaces."""
    given = dict(option.split("=", 1) for option in options.split())
    return PlaceRequest(load_image_spec("cpu"), gpus=gpus, share=share, options=given)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (asked("cpus=many"), "cpus=many: valid is a number, 0 or more"),
        (asked("wait=-1"), "wait=-1: valid is a number, 0 or more"),
        (asked("cpus=inf"), "cpus=inf: valid is a number"),
        (asked("resources=label"), "valid is NAME:AMOUNT"),
        (asked("resources=label:x"), "resources=x: valid is a number"),
        (asked("resources=a:1,a:2"), "each name once"),
        (asked("resources=GPU:1"), "cpus and gpus are options by themselves"),
        (asked("gpus=0", gpus=1), "gpus=0: a slot of this pack needs 1"),
        (asked("gpus=0.5", gpus=2), "gpus=0.5: a slot of this pack needs 2"),
        (asked("gpus=1"), "gpus=1: a slot of this pack needs 0"),
        (asked(share=True), "without --share-devices"),
    ],
)
def test_what_is_not_valid_is_refused(request_: PlaceRequest, words: str) -> None:
    with pytest.raises(RecipelabError, match=words):
        RayPlace(request_)


def test_a_part_of_a_gpu_may_be_reserved() -> None:
    RayPlace(asked("gpus=0.5", gpus=1))


def test_where_ray_is_not_installed_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("recipelab.places.ray.find_spec", lambda name: None)
    with pytest.raises(RecipelabError, match=r"pip install 'recipelab\[ray\]'"):
        RayPlace.from_request(asked())


def test_settings_of_the_bridge_come_back_from_text() -> None:
    reserve = Reserve(1.0, 0.5, {"label": 2.0})
    settings = BridgeSettings("/tmp/socket", "auto", 4, reserve, 0)
    assert BridgeSettings.from_json(settings.to_json()) == settings
    assert str(reserve) == "1 CPU, 0.5 GPU, 2 label"
