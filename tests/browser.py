"""A headless Chromium, spoken to over the two pipes of its DevTools protocol: no driver and no socket is needed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# moves the pipes to where Chromium looks for them: it reads 3 and writes 4
LAUNCH = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
    "--no-first-run",
)
TIMEOUT_S = 30.0
KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "Enter": 13, "Escape": 27, " ": 32}


class Page:
    """One page of a browser of its own. `problems` holds what its console and its policy complained about."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM
        self.problems: list[str] = []
        self.requests: list[str] = []  # URLs, all but data:
        self._n_sent, self._buffer = 0, b""
        ours, theirs = _high_pipe(), _high_pipe()
        words = [sys.executable, "-c", LAUNCH, str(ours[0]), str(theirs[1]), CHROMIUM, *FLAGS]
        words += [f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
        self._process = subprocess.Popen(
            words, pass_fds=(ours[0], theirs[1]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(ours[0])
        os.close(theirs[1])
        self._to, self._from = ours[1], theirs[0]
        self._session: str | None = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Performance.enable", timeDomain="threadTicks")

    def __enter__(self) -> Page:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(TIMEOUT_S)
        os.close(self._to)
        os.close(self._from)

    def send(self, method: str, **params: object) -> dict[str, Any]:
        """One command; its result."""
        self._n_sent += 1
        message: dict[str, object] = {"id": self._n_sent, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._n_sent:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + TIMEOUT_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(self._from, 1 << 20) if ready else b""
            assert part, "Chromium does not answer"
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.problems.append(json.dumps(params))
        if method == "Network.requestWillBeSent" and not params["request"]["url"].startswith("data:"):
            self.requests.append(params["request"]["url"])

    def look(self, width: int, height: int, *, is_dark: bool = False, is_touch: bool = False, zoom: float = 1) -> None:
        """The window and what the reader prefers."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=zoom, mobile=is_touch
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Emulation.setTouchEmulationEnabled", enabled=is_touch)

    def open(self, url: str) -> float:
        """Goes to a page; seconds until its load event."""
        start = time.monotonic()
        self.send("Page.navigate", url=url)
        while True:
            event = self._receive()
            self._note(event)
            if event.get("method") == "Page.loadEventFired":
                return time.monotonic() - start

    def cpu_seconds(self) -> float:
        """The page's thread at work since the page was opened, however busy the machine is."""
        metrics = self.send("Performance.getMetrics")["metrics"]
        return next(float(each["value"]) for each in metrics if each["name"] == "TaskDuration")

    def value(self, script: str) -> Any:
        """What an expression gives, as JSON; a promise is waited for."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Until an expression is true."""
        deadline = time.monotonic() + TIMEOUT_S
        while not self.value(f"Boolean({script})"):
            assert time.monotonic() < deadline, f"never true: {script}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """A key, down and up."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        code = KEYS.get(key, ord(key[0].upper()))
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def drag(self, selector: str, start: float, end: float) -> None:
        """The mouse over an element, from one share of its width to another, pressed."""
        edge = self.value(
            f"(e => [e.x, e.y, e.width, e.height])(document.querySelector({selector!r}).getBoundingClientRect())"
        )
        for kind, share in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            self.send(
                "Input.dispatchMouseEvent", type=kind, x=edge[0] + share * edge[2], y=edge[1] + edge[3] / 2,
                button="left", buttons=0 if kind == "mouseReleased" else 1, clickCount=1,
            )  # fmt: skip

    def screenshot(self, path: Path) -> None:
        """What the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))


def _high_pipe() -> tuple[int, int]:
    """A pipe whose ends are numbered 10 or more, clear of where Chromium wants its own."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]
