"""Seeds and secret numbers: the same again for who has the secret, and foretold by nobody else."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from recipelab.evaluation.seeds import NONCE_BITS, SeedSource
from recipelab.packs.pack import Pack


def source(pack: Pack, secret: bytes = b"s") -> SeedSource:
    return SeedSource(pack, "c-1", secret)


def test_a_longer_list_begins_with_the_shorter(toy: Pack) -> None:
    @given(count=st.integers(0, 40), more=st.integers(0, 40))
    def holds(count: int, more: int) -> None:
        short = source(toy).confirmation("3", count, (), best=0)
        assert source(toy).confirmation("3", count + more, (), best=0)[:count] == short
        assert len(set(short)) == count and not set(short) & set(toy.seeds)

    holds()


def test_whoever_has_no_secret_foretells_nothing(toy: Pack) -> None:
    one, other = source(toy, b"one's"), source(toy, b"other's")
    for draw in (
        lambda s: s.confirmation("3", 4, (), best=0),
        lambda s: s.checkpoint(0, 4),
        lambda s: s.certification(0, 4),
        lambda s: s.ablation(4),
        lambda s: (s.nonce(1),),
    ):
        assert draw(one) == draw(source(toy, b"one's"))
        assert not set(draw(one)) & set(draw(other))
    assert SeedSource(toy, "c-1").nonce(1) != SeedSource(toy, "c-1").nonce(1)
    assert repr(one.secret) not in repr(one)


def test_no_two_purposes_share_seeds(toy: Pack) -> None:
    drawn = source(toy)
    lists = [
        drawn.confirmation("3", 16, (), best=0),
        drawn.confirmation("4", 16, (), best=0),
        drawn.checkpoint(0, 16),
        drawn.checkpoint(1, 16),
        drawn.certification(0, 16),
        drawn.certification(1, 16),
        drawn.ablation(16),
        drawn.screening(3, "7", shared=False),
        drawn.screening(3, "8", shared=False),
    ]
    every = [seed for seeds in lists for seed in seeds]
    assert len(set(every)) == len(every)


def test_challengers_share_seeds_where_the_best_has_to_run_them(toy: Pack) -> None:
    drawn = source(toy)
    assert drawn.screening(3, "7", shared=True) == drawn.screening(3, "8", shared=True)
    assert drawn.screening(0, "7", shared=False) == toy.seeds
    beside = toy.model_copy(update={"metric": toy.metric.model_copy(update={"side_by_side": True})})
    assert replace(drawn, pack=beside).screening(3, "7", shared=True) == toy.seeds


def test_a_secret_number_fits_into_a_measurement(toy: Pack) -> None:
    numbers = [source(toy).nonce(seed) for seed in range(200)]
    assert len(set(numbers)) == 200
    assert max(numbers) < 2**NONCE_BITS
    assert all(int(float(number)) == number for number in numbers)
