"""Every kind of failure has an exception, and each is an ordinary class."""

from __future__ import annotations

import pickle

import bartizan
import pytest
from bartizan import _core, exceptions


def test_every_kind_names_an_exception_that_exists() -> None:
    assert len(_core.ERROR_KINDS) > 15
    for kind, name in _core.ERROR_KINDS.items():
        cls = getattr(exceptions, name)
        assert issubclass(cls, bartizan.BartizanError), kind
        assert getattr(bartizan, name) is cls


@pytest.mark.parametrize("name", sorted(set(_core.ERROR_KINDS.values())))
def test_exceptions_pickle_with_what_they_know(name: str) -> None:
    error = getattr(exceptions, name)("A sentence.", kind="X", detail={"a": [1]}, retry_after=1.5)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.kind, again.detail, again.retry_after) == ("A sentence.", "X", {"a": [1]}, 1.5)


def test_every_public_name_can_be_loaded() -> None:
    for name in bartizan.__all__:
        assert getattr(bartizan, name) is not None
    assert set(dir(bartizan)) == set(bartizan.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        bartizan.nonsense  # noqa: B018 - the look-up is the test
