"""A JSON object whose lists are decoded element by element, so that large files stay small.

A list file of a hundred thousand images is a hundred megabytes of text and would be ten times as
much in Python's objects. `walk_members` goes through it once, in the file's order, and forgets each
element at once. `read_members` takes two passes, and then lists may be read in any order.
"""

import json
import re
from collections.abc import Iterator
from json import JSONDecodeError
from typing import Any

_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


class Elements:
    """A list of the text; going through it decodes it.

    Args:
        text: the whole file.
        start: place behind the list's opening bracket.
    """

    def __init__(self, text: str, start: int) -> None:
        self._text, self._start = text, start

    def __iter__(self) -> Iterator[Any]:
        """Its elements, one after the other."""
        return (value for value, _ in _elements(self._text, self._start))


class Passing:
    """A list of the text as it is met; it must be gone through, once, before what follows it.

    Args:
        text: the whole file.
        start: place behind the list's opening bracket.
    """

    def __init__(self, text: str, start: int) -> None:
        self._text, self.start, self.end = text, start, start

    def __iter__(self) -> Iterator[Any]:
        """Its elements, one after the other."""
        for value, place in _elements(self._text, self.start):
            self.end = place
            yield value


def text_of(content: bytes) -> str:
    """The text of a JSON file, in any encoding that JSON allows."""
    return content.decode(json.detect_encoding(content), "surrogatepass").removeprefix("\ufeff")


def read_members(text: str) -> dict[str, Any] | Any:
    """Decode a file, leaving the lists of the outermost object as `Elements`.

    Args:
        text: of the file.

    Returns:
        The object's members; any other value as it is.

    Raises:
        ValueError: if it is no JSON.

    Example:
        >>> members = read_members('{"name": "x", "images": [{"id": 1}, {"id": 2}]}')
        >>> members["name"], [image["id"] for image in members["images"]]
        ('x', [1, 2])
    """
    place = _skip(text, 0)
    if text[place : place + 1] != "{":
        return json.loads(text)
    members: dict[str, Any] = {}
    for key, value in walk_members(text):
        if isinstance(value, Passing):
            for _ in value:
                pass
            members[key] = Elements(text, value.start)
        else:
            members[key] = value
    return members


def walk_members(text: str) -> Iterator[tuple[str, Any]]:
    """The members of an object in the file's order, its lists as `Passing`.

    Raises:
        ValueError: if it is no JSON, or no object.
    """
    place = _skip(text, _expect(text, _skip(text, 0), "{"))
    first = True
    while text[place : place + 1] != "}":
        if not first:
            place = _skip(text, _expect(text, place, ","))
        if text[place : place + 1] != '"':
            raise JSONDecodeError("Expecting property name enclosed in double quotes", text, place)
        key, place = _decode(text, place)
        place = _skip(text, _expect(text, _skip(text, place), ":"))
        if text[place : place + 1] == "[":
            passing = Passing(text, place + 1)
            yield key, passing
            place = _expect(text, _skip(text, passing.end), "]")
        else:
            value, place = _decode(text, place)
            yield key, value
        place, first = _skip(text, place), False
    end = _skip(text, place + 1)
    if end != len(text):
        raise JSONDecodeError("Extra data", text, end)


def _elements(text: str, place: int) -> Iterator[tuple[Any, int]]:
    """(element, place behind it) of the list that begins before a place."""
    place = _skip(text, place)
    if text[place : place + 1] == "]":
        return
    while True:
        value, place = _decode(text, place)
        yield value, place
        place = _skip(text, place)
        if text[place : place + 1] == "]":
            return
        place = _skip(text, _expect(text, place, ","))


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    assert found is not None, "no space at all matches, too"
    return found.end()


def _expect(text: str, place: int, sign: str) -> int:
    """The place behind a sign that must stand there."""
    if text[place : place + 1] != sign:
        raise JSONDecodeError(f"Expecting {sign!r} delimiter", text, place)
    return place + 1
