"""Lists decoded element by element give what the whole decoder gives, and fail where it fails."""

import json

import pytest

from panoptic_deeplab.data.json_members import (
    Elements,
    Passing,
    read_members,
    text_of,
    walk_members,
)

GOOD = (
    "{}",
    ' {"a" : [ ] , "b":{"c":[1,2]},"d":[{"x":"]"},[1,[2]],"}",null,-1.5e3] }\n',
    '{"a": [1], "a": [2, 3]}',
    '{"\\u00e4 \\"": "b"}',
    "[1, 2]",
    '"text"',
)
BAD = ("", "{", '{"a": [1, 2', '{"a": [1 2]}', '{"a" [1]}', '{"a": [1],}', "{} {}", "{a: 1}",
       '{"a": [1,]}', '{"a": [', '{"a":')  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_gives_what_json_gives(text: str) -> None:
    found = read_members(text)
    if isinstance(found, dict):
        for _ in range(2):  # lists may be gone through again
            plain = {k: list(v) if isinstance(v, Elements) else v for k, v in found.items()}
            assert plain == json.loads(text)
        walked = {}
        for key, value in walk_members(text):
            walked[key] = list(value) if isinstance(value, Passing) else value
        assert walked == json.loads(text)
    else:
        assert found == json.loads(text)


@pytest.mark.parametrize("text", BAD)
def test_fails_where_json_fails(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    with pytest.raises(json.JSONDecodeError):
        read_members(text)


def test_encodings() -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert text_of('{"ä": 1}'.encode(encoding)) == '{"ä": 1}'
    with pytest.raises(ValueError, match="decode"):
        text_of(b'{"a": "\xff"}')
