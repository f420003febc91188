"""A real browser for tests: Chromium without a window, spoken to in its DevTools protocol over a pipe."""

import base64
import fcntl
import json
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 30  # seconds for any answer


class Browser:
    """One page at a time. `errors` are the page's uncaught errors and complaints, `requests` all that it asked for."""

    def __enter__(self) -> "Browser":
        self.profile = tempfile.TemporaryDirectory(prefix="browser", ignore_cleanup_errors=True)
        ours_in, theirs_out = _pipe()
        theirs_in, ours_out = _pipe()
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
        options += ("--disable-background-networking", "--remote-debugging-pipe", "--hide-scrollbars", "--mute-audio")
        command = [CHROMIUM, *options, f"--user-data-dir={self.profile.name}", "about:blank"]
        ends = [(os.POSIX_SPAWN_DUP2, theirs_in, 3), (os.POSIX_SPAWN_DUP2, theirs_out, 4)]
        silent = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
        self.process = os.posix_spawn(CHROMIUM, command, os.environ, file_actions=ends + silent, setsid=True)
        os.close(theirs_in)
        os.close(theirs_out)
        self.read, self.write = os.fdopen(ours_in, "rb"), os.fdopen(ours_out, "wb")
        os.set_blocking(self.read.fileno(), False)
        self.left, self.asked, self.session = b"", 0, None
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.events: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.killpg(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        self.read.close()
        self.write.close()
        self.profile.cleanup()

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the protocol and returns its result."""
        self.asked += 1
        message = {"id": self.asked, "method": method, "params": parameters}
        self.write.write(json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + b"\0")
        self.write.flush()
        while True:
            answer = self._next()
            if answer.get("id") == self.asked:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def open(self, path: Path, place: str = "") -> None:
        """Opens a file, and waits until it is there. What was noted of the page before is forgotten."""
        for address in ("about:blank", path.as_uri() + place):  # blank first, so that a new place is a new page, too
            for noted in (self.errors, self.requests, self.events):
                noted.clear()
            self.ask("Page.navigate", url=address)
            while "Page.loadEventFired" not in self.events:
                self._next()

    def size(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def value(self, script: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", script))
        return answer["result"].get("value")

    def until(self, script: str) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.value(script):
            if time.monotonic() > end:
                raise TimeoutError(f"Not true within {PATIENCE} s: {script}")
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """Clicks with the mouse in the middle of an element, as a person does."""
        place = "(e => (e.scrollIntoView({block: 'center', behavior: 'instant'}), e.getBoundingClientRect().toJSON()))"
        box = self.value(f"{place}(document.querySelector({json.dumps(selector)}))")
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, **at)

    def press(self, key: str) -> None:
        """Presses a key: Tab, Enter, Escape or a letter."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27}.get(key, ord(key[0].upper()))
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Writes a PNG of what is seen, or of the whole page."""
        taken = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))

    def _next(self) -> dict[str, Any]:
        """The next message; events are noted."""
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.left:
            read = self.read.read()
            if read:
                self.left += read
            elif read == b"" or time.monotonic() > end:
                raise TimeoutError(f"The browser ended, or did not answer within {PATIENCE} s.")
            else:
                time.sleep(0.002)
        text, _, self.left = self.left.partition(b"\0")
        message = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, about: dict[str, Any]) -> None:
        self.events.append(event)
        if event == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif event == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.errors.append(about["entry"]["text"])
        elif event == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.errors.append(" ".join(str(a.get("value", a.get("description"))) for a in about["args"]))
        elif event == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])


def _pipe() -> tuple[int, int]:
    """A pipe's two ends, with numbers above those that the browser speaks through."""
    low = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in low)
    for end in low:
        os.close(end)
    return high
