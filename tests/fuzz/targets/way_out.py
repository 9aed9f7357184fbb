"""What makes a provider act or choose: found at every place and in every spelling, whatever
surrounds it."""

import json

from netmgr_proxy.inference.document import MalformedBody, read_document
from netmgr_proxy.inference.steering import MODEL, find_choices
from netmgr_proxy.inference.way_out import find_way_out

WORDS = (
    b'"tools":[{"type":"web_search"}]',
    b'"tools":[{"type":"function","function":{"name":"f","parameters":{}}}]',
    b'"mcp_servers":[{"url":"https://x.example"}]',
    b'"image_url":{"url":"https://x.example/a.png"}',
    b'"imageUrl":"http://x.example"',
    b'"file_id":"file-1"',
    b'"previous_response_id":"resp_1"',
    b'"type":"item_reference","id":"msg_1"',
    b'"extra_body":{',
    b'"input":[{',
    b'"messages":[{"role":"user","content":[{',
    b'"url":"data:image/png;base64,AA"',
    b'"URL\\u0000":"https://x.example"',
    b'"container":{"id":"c"}',
    b'"extra_body":{"models":["x"],"provider":{"order":["x"]},"orq":{',
    b"}]}",
)
_KEY = "https://evil.example/found"


def fuzz(data: bytes) -> None:
    """A URL and a model beside any readable body are found; nothing that was found is lost."""
    try:
        document = read_document(data)
        before = find_way_out(document)
    except MalformedBody as fault:
        fault.message.encode()
        return
    whole = json.loads(data)
    if any(name.strip("\0 ").casefold() == "video_url" for name in whole):
        return
    whole["video_url"] = {"url": _KEY}
    whole["next_model"] = "x"
    try:
        changed = read_document(json.dumps(whole, ensure_ascii=False).encode())
        after = find_way_out(changed)
    except MalformedBody as fault:  # one URL too many
        fault.message.encode()
        return
    assert _KEY in after.urls
    assert set(before.tools) <= set(after.tools)
    assert len(after.urls) > len(before.urls)
    assert len(after.references) == len(before.references)
    assert find_choices(document).keys() | {MODEL} == find_choices(changed).keys()
