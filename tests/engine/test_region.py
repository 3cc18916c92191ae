"""Rectangles of a picture in fractions of its sides."""

from __future__ import annotations

import pytest

from generation.engine.region import Region


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.25,0.25,0.75,0.75", "0.25,0.25,0.75,0.75"),
        (" 0, .5 ,1, 1.0", "0,0.5,1,1"),
        ("0.25,0.3,0.35,0.4", "0.25,0.3,0.35,0.4"),
    ],
)
def test_it_is_read_and_said(text: str, said: str) -> None:
    assert str(Region.parse(text)) == said
    assert Region.parse(said) == Region.parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "four numbers"),
        ("0,0,1", "four numbers"),
        ("0,0,1,.5,1", "four numbers"),
        ("0,0,nan,1", "four numbers"),
        ("-0.1,0,1,1", "four numbers"),
        ("0,0,1e-1,1", "four numbers"),
        ("0,0,1.5,1", "right must be 0 to 1, got 1.5"),
        ("0.5,0,0.5,1", "right must be left and 0.1 at least, got 0.5 to 0.5"),
        ("0,0.9,1,0.1", "bottom must be top and 0.1 at least, got 0.9 to 0.1"),
        ("0,0,1,1", "covers the whole picture"),
    ],
)
def test_what_is_no_part_of_a_picture_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Region.parse(text)


def test_pixels_lie_inside_and_are_never_none() -> None:
    assert Region(0.25, 0, 0.75, 1).pixels(64, 48) == (16, 0, 48, 48)
    for step in range(91):
        left, top, right, bottom = Region(step / 100, 0, step / 100 + 0.1, 1).pixels(16, 16)
        assert 0 <= left < right <= 16
        assert (top, bottom) == (0, 16)
