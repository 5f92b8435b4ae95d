"""A page in headless Chromium, asked and operated over its debugging pipe."""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
from itertools import count

import pytest

NEEDS_BROWSER = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="needs the browser chromium (Debian: apt-get install chromium)"
)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--no-first-run", "--hide-scrollbars", "--remote-debugging-pipe"]
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "ArrowRight": (39, ""), "ArrowLeft": (37, ""), "End": (35, "")}


class Browser:
    """Opens one page at a time: `open`, then ask with `value`, and operate with `press` and `tap`."""

    def __enter__(self):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # a helper process may still write as it ends
        reads, self.to = os.pipe()
        self.of, writes = os.pipe()
        # The browser reads from its file descriptor 3 and writes to 4.
        command = ["bash", "-c", f'exec chromium "$@" 3<&{reads} 4>&{writes}', "chromium", *FLAGS]
        self.process = subprocess.Popen(
            [*command, f"--user-data-dir={self.profile.name}", "about:blank"],
            pass_fds=(reads, writes), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(reads), os.close(writes)
        self.source, self.numbers, self.session, self.events = os.fdopen(self.of, "rb"), count(1), None, []
        self.left = b""
        pages = self.ask("Target.getTargets")["targetInfos"]
        target = next(page["targetId"] for page in pages if page["type"] == "page")
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Page.enable")
        self.ask("Runtime.enable")
        return self

    def __exit__(self, *error):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.source.close()
        os.close(self.to)
        self.profile.cleanup()

    def _message(self):
        while b"\0" not in self.left:
            more = os.read(self.of, 1 << 16)
            assert more, "the browser ended"
            self.left += more
        message, _, self.left = self.left.partition(b"\0")
        return json.loads(message)

    def ask(self, method, **parameters):
        number = next(self.numbers)
        asked = {"id": number, "method": method, "params": parameters}
        asked |= {"sessionId": self.session} if self.session else {}
        os.write(self.to, json.dumps(asked).encode() + b"\0")
        while (message := self._message()).get("id") != number:
            self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    def open(self, path, width, height=844, **media):
        """The page at `width` x `height` pixels; media: features such as prefers_color_scheme="dark", or medium="print"."""
        medium = media.pop("medium", "")
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        self.ask("Emulation.setEmulatedMedia", media=medium, features=features)
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.events.clear()
        self.ask("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message())

    def value(self, expression):
        """What a JavaScript expression gives in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def complaints(self):
        """What the page threw, or wrote to the console, since it was opened."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [event for event in self.events if event.get("method") in kinds]

    def press(self, key):
        code, text = KEYS[key]
        parameters = {"key": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **parameters, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", **parameters)

    def tap(self, x, y):
        self.ask("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def screenshot(self, path):
        """The whole page as a PNG."""
        found = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))
