"A headless Chromium, driven over its DevTools protocol: enough to open pages and ask about them."

import base64
import importlib.util
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
# what a reader cannot see of a page without scrolling sideways: lines of code and of output, tables
CUT = """
(() => {
  const seen = e => e.checkVisibility() && !e.closest('details:not([open])');
  const out = {code: [], output: [], tables: []};
  for (const pre of document.querySelectorAll('article pre')) {
    if (!seen(pre) || pre.scrollWidth <= pre.clientWidth + 1) continue;
    const edge = pre.getBoundingClientRect().right, rights = {};
    const walk = document.createTreeWalker(pre, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const range = document.createRange();
      range.selectNodeContents(walk.currentNode);
      for (const r of range.getClientRects()) {
        rights[Math.round(r.top)] = Math.max(rights[Math.round(r.top)] || 0, r.right);
      }
    }
    const cut = Object.values(rights).filter(right => right > edge + 1).length;
    const kind = pre.closest('.cell_output') ? 'output' : 'code';
    if (cut) out[kind].push(cut + ' in ' + pre.textContent.trim().slice(0, 40));
  }
  for (const table of document.querySelectorAll('article table')) {
    if (!seen(table)) continue;
    for (let box = table.parentElement; box.tagName != 'ARTICLE'; box = box.parentElement) {
      if (!/auto|scroll|hidden/.test(getComputedStyle(box).overflowX)) continue;
      const beyond = box.scrollWidth > box.clientWidth + 1;
      if (beyond) out.tables.push(table.textContent.trim().slice(0, 40).replace(/\\s+/g, ' '));
      break;
    }
  }
  return out;
})()
"""
# the sizes of the letters in the figures of a page, in pixels, and figures that are cut
FIGURES = """
(() => {
  const out = {cut: [], silent: [], small: [], figures: 0};
  for (const svg of document.querySelectorAll('article .carat-figure > svg, .carat-overview svg')) {
    if (!svg.checkVisibility() || svg.closest('details:not([open])')) continue;
    const box = svg.parentElement, wide = svg.getBoundingClientRect().width;
    const scale = wide / svg.viewBox.baseVal.width;
    const name = (svg.getAttribute('aria-label') || '').slice(0, 50);
    out.figures += 1;
    if (box.scrollWidth > box.clientWidth + 1) {
      out.cut.push(name);
      if (!box.classList.contains('fades-right')) out.silent.push(name);
    }
    const sizes = [];
    for (const g of svg.querySelectorAll("g[transform*='scale(0.']")) {
      const m = /scale\\(([\\d.]+) -?([\\d.]+)\\)/.exec(g.getAttribute('transform') || '');
      if (m && g.querySelector('use')) sizes.push(100 * m[1] * scale);
    }
    for (const t of svg.querySelectorAll('text, tspan')) {
      if (t.textContent.trim()) sizes.push(parseFloat(getComputedStyle(t).fontSize) * scale);
    }
    const least = Math.min(...sizes);
    if (least < 9) out.small.push(least.toFixed(1) + ' px in ' + name);
  }
  return out;
})()
"""
# marks one element for each look of text: its colour, size and weight, and what lies behind it
LOOKS = """
(() => {
  document.querySelectorAll('[data-look]').forEach(e => e.removeAttribute('data-look'));
  const looks = new Map(), behind = new Map([[null, '']]);
  const under = e => {
    if (!behind.has(e)) {
      const s = getComputedStyle(e);
      const own = [s.backgroundColor, s.backgroundImage, s.opacity].join();
      const clear = own == 'rgba(0, 0, 0, 0),none,1';
      behind.set(e, under(e.parentElement) + (clear ? '' : own));
    }
    return behind.get(e);
  };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.checkVisibility()) continue;
    const s = getComputedStyle(e), own = [s.color, s.fontSize, s.fontWeight, s.textShadow];
    const look = own.join() + under(e);
    if (!looks.has(look)) looks.set(look, e);
  }
  for (const e of looks.values()) e.dataset.look = 1;
})()
"""
# contrast, which takes axe-core longest, is looked at once for each look
ONCE = "axe.configure({rules: [{id: 'color-contrast', selector: '[data-look]'}]})"
# serious and critical violations of the rules of accessibility, as axe-core finds them
AXE = """
axe.run(document, OPTIONS).then(found => found.violations
  .filter(v => ['serious', 'critical'].includes(v.impact))
  .map(v => v.id + ': ' + v.nodes.length + ', such as '
    + v.nodes[0].html.slice(0, 120) + ' ' + v.nodes[0].failureSummary.split('\\n').pop().trim()))
"""
# controls whose spoken name lacks the words that they show
NAMES = """
[...document.querySelectorAll('a[aria-label], button[aria-label], summary[aria-label]')]
  .filter(e => e.checkVisibility())
  .filter(e => {
    const words = t => t.toLowerCase().match(/[\\p{L}\\p{N}]+/gu) || [];
    const said = words(e.getAttribute('aria-label')).join(' ');
    const walk = document.createTreeWalker(e, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      if (walk.currentNode.parentElement.closest('kbd, .search-button__kbd-shortcut')) continue;
      if (words(walk.currentNode.textContent).some(w => !said.includes(w))) return true;
    }
    return false;
  })
  .map(e => e.outerHTML.slice(0, 100))
"""


def axe_core():
    "The script of axe-core, which the package axe-playwright-python brings along."
    package = importlib.util.find_spec("axe_playwright_python")
    if package is None or not package.submodule_search_locations:
        return None
    return (Path(package.submodule_search_locations[0]) / "axe.min.js").read_text("utf-8")


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

    def violations(self, *rules):
        "What axe-core finds on the page, of all rules or of some; serious and critical only."
        if not self.ask("typeof axe === 'object'"):
            self.ask(f"{axe_core()}; {ONCE}; 1")
        self.ask(LOOKS)
        only = {"runOnly": {"type": "rule", "values": rules}} if rules else {}
        options = {"resultTypes": ["violations"], "preload": False, **only}
        self.patience = 300  # a page of formulas on a busy machine
        found = self.ask(AXE.replace("OPTIONS", json.dumps(options)))
        self.patience = 60
        return found

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
        "light or dark, at once: colours do not glide from one to the other"
        self.ask(f"""(() => {{
            if (!document.getElementById('no-gliding')) {{
              const style = document.createElement('style');
              style.id = 'no-gliding';
              style.textContent = '* {{ transition: none !important; }}';
              document.head.append(style);
            }}
            const page = document.documentElement.dataset;
            page.theme = page.mode = '{name}';
        }})()""")

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
