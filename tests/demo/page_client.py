"""The page as its browser uses it, over HTTP alone."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

import httpx


class PageClient:
    """One page that is open: ``enter`` first, then ``send``. ``browser`` is what the browser remembers."""

    def __init__(self, address: str, browser: Any = None, remembered: Any = "", **settings: Any) -> None:
        self.address, self.settings = address, {"timeout": 120, **settings}
        self.browser, self.remembered, self.session = browser, remembered, secrets.token_hex(6)
        config = self.get("/config").json()
        self.ids = {each["props"].get("elem_id"): each["id"] for each in config["components"]}
        self.dependencies = config["dependencies"]
        self.events = {tuple(target): each for each in self.dependencies for target in each["targets"]}
        [self.load] = [each for each in self.dependencies if any(t[1] == "load" for t in each["targets"])]

    def get(self, path: str, **settings: Any) -> httpx.Response:
        return httpx.get(self.address + path, **self.settings, **settings)

    def post(self, path: str, **settings: Any) -> httpx.Response:
        return httpx.post(self.address + path, **self.settings, **settings)

    def join(self, event: dict[str, Any], data: list[Any], said: Any = None) -> list[Any]:
        """Run an event's function; what it shows at the end. RuntimeError, with its sentence, if it failed.

        ``said`` is what the event itself carries.
        """
        body = {"data": data, "fn_index": event["id"], "session_hash": self.session, "event_data": said}
        self.post("/gradio_api/queue/join", json=body).raise_for_status()
        shown: list[Any] = []
        events = f"{self.address}/gradio_api/queue/data?session_hash={self.session}"
        with httpx.stream("GET", events, **self.settings) as lines:
            for line in lines.iter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("msg") == "process_completed":
                    if not message["success"]:
                        raise RuntimeError(message["output"].get("error"))
                    shown = message["output"]["data"] or shown
                    return shown
        return shown

    def enter(self, language: str = "en") -> PageClient:
        """Open the page; afterwards ``browser`` holds its key."""
        shown = self.join(self.load, [self.browser, language, self.remembered])
        self.browser = next(each for each in shown if isinstance(each, dict) and "visitor" in each)
        return self

    def resume(self) -> list[Any]:
        """What is shown of the current conversation: its turns, the field, the list; ``remembered`` is its identity."""
        [resumed, _] = self._after(self.load)
        shown = self.join(resumed, [None] * len(resumed["inputs"]))
        self.remembered = shown[1]["state"]["conversation"]
        return shown

    def conversations(self) -> list[str]:
        """Titles in the list, the latest first."""
        return re.findall(r'data-act="go"[^>]*><span>(.*?)</span>', self.resume()[2])

    def turns(self) -> list[str]:
        """HTML of each turn of the conversation; none where the page is empty."""
        return [turn for turn in self.resume()[0] if 'class="turn"' in turn]

    def send(self, text: str, *files: str) -> list[str]:
        """Send a message; the turns at the end."""
        event = self.events[(self.ids["composer"], "submit")]
        settings = [0, 2, 0, 0, "", ["image", "audio", "video"], None]  # seed to model, as the settings have them
        said = {"text": text, "files": list(files), "editing": None}
        return self.join(event, [None, *settings], said)[0]

    def upload(self, name: str, content: bytes, **headers: str) -> httpx.Response:
        return self.post("/gradio_api/upload", files={"files": (name, content)}, headers=headers)

    def _after(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        return [each for each in self.dependencies if each.get("trigger_after") == event["id"]]
