"A headless Chromium, driven over its DevTools protocol: enough to open pages and ask about them."

import base64
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tornado.ioloop import IOLoop
from tornado.websocket import websocket_connect


def chromium():
    "The path of a Chromium, or None."
    return next(
        (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))),
        None,
    )


FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync --disable-quic "
    "--disable-extensions --hide-scrollbars --remote-debugging-port=0"
).split()
# rests the pointer on an element, waits for the preview, and takes the pointer away
POINT = """(async (selector, patience) => {
  const e = [...document.querySelectorAll(selector)].find(x => x.getClientRects().length);
  if (!e) return null;
  const over = {bubbles: true, pointerType: 'mouse'}, href = e.getAttribute('href');
  const wait = ms => new Promise(r => setTimeout(r, ms));
  e.scrollIntoView({block: 'center', behavior: 'instant'});
  e.dispatchEvent(new PointerEvent('pointerover', over));
  const end = Date.now() + patience;
  let got = {text: '', raw: false, inside: false, href};
  while (Date.now() < end) {
    await wait(30);
    const box = document.getElementById('preview');
    if (!box || box.hidden || !box.innerText.trim()) continue;
    const r = box.getBoundingClientRect();
    const raw = [...box.querySelectorAll('.math')].some(m => !m.querySelector('mjx-container'));
    const inside = r.left >= 0 && r.right <= innerWidth + 1 && r.top >= 0;
    got = {text: box.innerText, raw, inside, href};
    if (!raw) break;
  }
  document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}));
  e.dispatchEvent(new PointerEvent('pointerout', {bubbles: true}));
  await wait(20);
  return got;
})"""
TYPESET = """
window.MathJax && MathJax.startup && MathJax.startup.promise
  ? MathJax.startup.promise.then(() => 1) : 1
"""


class Browser:
    """`with Browser() as b: b.open(path); b.ask(javascript)`.

    `b.errors` and `b.requests` collect what pages log and load."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            [chromium(), *FLAGS, f"--user-data-dir={self.folder.name}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.loop, self.count, self.errors, self.requests, self.events = (
            IOLoop(make_current=False),
            0,
            [],
            [],
            [],
        )
        port_file, end = Path(self.folder.name) / "DevToolsActivePort", time.time() + 60
        while not (port_file.exists() and "\n" in port_file.read_text()):
            if time.time() > end or self.process.poll() is not None:
                raise RuntimeError("chromium did not start")
            time.sleep(0.05)
        port, path = port_file.read_text().split("\n")[:2]
        self.socket = self.wait(
            lambda: websocket_connect(f"ws://127.0.0.1:{port}{path}", max_message_size=2**28)
        )
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(20)
        self.loop.close()
        self.folder.cleanup()

    patience = 60  # seconds for an answer

    def wait(self, make):
        return self.loop.run_sync(make, timeout=self.patience)

    def read(self):
        "The next message; events are sorted into `errors`, `requests` and `events`."
        m = json.loads(self.wait(lambda: self.socket.read_message()))
        kind, p = m.get("method"), m.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.errors.append(
                p["exceptionDetails"].get("exception", {}).get("description")
                or p["exceptionDetails"]["text"]
            )
        elif kind == "Log.entryAdded" and p["entry"]["level"] == "error":
            self.errors.append(p["entry"]["text"] + " " + p["entry"].get("url", ""))
        elif kind == "Runtime.consoleAPICalled" and p["type"] == "error":
            self.errors.append(
                " ".join(str(a.get("value", a.get("description"))) for a in p["args"])
            )
        elif kind == "Network.requestWillBeSent":
            self.requests.append(p["request"]["url"])
        elif kind:
            self.events.append(kind)
        return m

    def call(self, method, **params):
        self.count += 1
        message = {
            "id": self.count,
            "method": method,
            "params": params,
            **({"sessionId": self.session} if self.session else {}),
        }
        self.wait(lambda: self.socket.write_message(json.dumps(message)))
        while (m := self.read()).get("id") != self.count:
            pass
        if "error" in m:
            raise RuntimeError(f"{method}: {m['error']}")
        return m["result"]

    def ask(self, javascript):
        "The value of an expression on the page; a promise is awaited."
        got = self.call(
            "Runtime.evaluate", expression=javascript, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in got:
            raise RuntimeError(got["exceptionDetails"])
        return got["result"].get("value")

    def size(self, width, height=900):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def open(self, path, patience=60):
        """Open a file of the book and wait until its mathematics is typeset.

        Each step may take `patience` seconds."""
        self.patience = patience
        self.events.clear()
        self.call(
            "Page.navigate",
            url=Path(path).resolve().as_uri() if "://" not in str(path) else str(path),
        )
        while "Page.loadEventFired" not in self.events:
            self.read()
        self.ask(TYPESET)
        self.patience = 60

    def point(self, selector, patience=3):
        """Rest the pointer on the first visible element of a selector.

        Returns the text of the preview that appears and whether it lies within the window, or None
        where there is no such element."""
        return self.ask(f"{POINT}({json.dumps(selector)}, {1000 * patience})")

    def theme(self, name):
        "light or dark"
        self.ask(
            "((page, name) => { page.theme = page.mode = name; })"
            f"(document.documentElement.dataset, '{name}')"
        )

    def picture(self, path, full=True):
        "Save a picture of the page."
        data = self.call(
            "Page.captureScreenshot",
            captureBeyondViewport=full,
            **(
                {
                    "clip": dict(
                        x=0,
                        y=0,
                        width=self.ask("innerWidth"),
                        height=min(self.ask("document.documentElement.scrollHeight"), 8000),
                        scale=1,
                    )
                }
                if full
                else {}
            ),
        )
        Path(path).write_bytes(base64.b64decode(data["data"]))
