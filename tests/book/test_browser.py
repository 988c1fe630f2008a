"The rendered pages in a browser. Skipped until `make book` has made them, or without a Chromium."

import json
import re
import time
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser import CUT, FIGURES, NAMES, Browser, axe_core, chromium

from book import API, HTML, facts, onepage, pages, toc_pages

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (HTML / ".built").exists(), reason="the book has not been built: run make book"
    ),
    pytest.mark.skipif(chromium() is None, reason="there is no chromium on this machine"),
]
LOCAL = "file:", "data:", "blob:", "about:"


@pytest.fixture(scope="module")
def browser():
    with Browser() as b:
        yield b


def opened(browser, path, **how):
    "Open a page with nothing noted of pages before it."
    browser.errors.clear()
    browser.requests.clear()
    browser.size(1280)
    browser.open(path, **how)


@pytest.fixture(scope="module", params=toc_pages())
def page(browser, request):
    "The name of a page, which is open in the browser for all tests of a page."
    opened(browser, HTML / f"{request.param}.html")
    return request.param


def number_of(browser, selector, condition="true"):
    "How many elements of a page match a selector and a condition on `e`."
    found = f"[...document.querySelectorAll({json.dumps(selector)})]"
    return browser.ask(f"{found}.filter(e => {condition}).length")


def check_mathematics(browser):
    assert number_of(browser, "mjx-merror, [data-mml-node=merror]") == 0
    assert number_of(browser, ".math", "!e.querySelector('mjx-container')") == 0


def check_quiet(browser):
    "No error, and no request off the machine."
    assert browser.errors == []
    assert [u for u in browser.requests if not u.startswith(LOCAL)] == []


# all elements but those within formulas, code and drawings, whose boxes are looked at as a whole
BOXES = """(root => {
  const inner = /^(mjx-container|pre|svg)$/i, found = [];
  const walk = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT, e =>
    inner.test(e.parentElement.tagName) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT);
  while (walk.nextNode()) found.push(walk.currentNode);
  return found;
})"""
# boxes that reach beyond the window and that no box around them scrolls or hides
WIDER = """
BOXES(document.body)
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
  .filter(e => {
    for (let p = e; p; p = p.parentElement) {
      const style = getComputedStyle(p);
      const fits = p.getBoundingClientRect().right <= innerWidth + 1;
      if (style.overflowX != 'visible' && p !== document.body && fits) return false;
      if (style.position == 'fixed' || style.visibility == 'hidden') return false;
      if (style.display == 'none') return false;
    }
    return true;
  })
  .slice(0, 3).map(e => e.tagName + '.' + e.className)
""".replace("BOXES", BOXES)
PROSE = """
(() => {
  const a = document.querySelector('article').cloneNode(true);
  a.querySelectorAll('pre, code, script, mjx-container').forEach(e => e.remove());
  return a.textContent;
})()
"""
# after a change of the width: the page has been laid out, and what scrolls has been found
SETTLED = "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(1))))"
# boxes that scroll sideways and do not fade out where they go on
SILENT = """
BOXES(document.querySelector('article'))
  .filter(e => e.scrollWidth > e.clientWidth + 2 && e.clientWidth && e.checkVisibility())
  .filter(e => /auto|scroll/.test(getComputedStyle(e).overflowX))
  .filter(e => e.scrollLeft < e.scrollWidth - e.clientWidth - 2)
  .filter(e => !e.classList.contains('fades-right') || e.tabIndex < 0)
  .map(e => e.tagName + '.' + e.className + ' ' + e.textContent.trim().slice(0, 40))
""".replace("BOXES", BOXES)
NOT_COPIED = "e.id.startsWith('codecell') && !e.parentElement.querySelector('.copybtn')"
KINDS = {
    "previews of equations": "article a.to-equation",
    "previews of symbols": "article a.to-symbol",
    "previews of names": "article a.to-reference",
    "previews of symbols within formulas": "article mjx-container [class*='symbol-']",
    "previews of citations": "article a[href*='bibliography.html#id']",
}


def check_widths(browser, counted):
    "Nothing is wider than the window, at two widths and in two themes."
    for width, themes in ((1280, ("light", "dark")), (390, ("dark", "light"))):
        browser.size(width)
        for theme in themes:
            browser.theme(theme)
            wide = browser.ask(WIDER)
            assert not wide, f"wider than {width} px, {theme}: {wide}"
            assert browser.ask("document.documentElement.scrollWidth") <= width
            counted["views"] += 1
    browser.size(1280)


def check_column(browser, counted):
    "No line of code, no output and no table is cut at 1280 px; figures can be read at both widths."
    browser.size(1280)
    cut = browser.ask(CUT)
    for kind, found in cut.items():
        counted[f"cut at 1280 px: {kind}"] += len(found)
    assert not any(cut.values()), f"cut at 1280 px: {cut}"
    for width in (1280, 390):
        browser.size(width)
        browser.ask(SETTLED)
        figures = browser.ask(FIGURES)
        counted["figures"] += figures["figures"] if width == 1280 else 0
        counted[f"figures that scroll at {width} px"] += len(figures["cut"])
        assert not figures["silent"], f"cut without a sign at {width} px: {figures['silent']}"
        assert not figures["small"], f"{width} px: {figures['small']}"
    assert not (silent := browser.ask(SILENT)), f"scrolls without a sign at 390 px: {silent}"
    browser.size(1280)


def check_previews(browser, counted):
    for kind, selector in KINDS.items():
        if got := browser.point(selector):
            assert got["text"].strip() and not got["raw"] and got["inside"], f"{kind}: {got}"
            counted[kind] += 1


def check_weight(browser, name):
    "The first view without figures stays below a megabyte, as servers send it."
    files = {Path(unquote(urlsplit(u).path)) for u in browser.requests if u.startswith("file:")}
    bytes_sent = pages.weight(name, files)
    assert bytes_sent < 1_000_000, f"{bytes_sent:,} bytes without figures"


def test_page_in_a_browser(browser, counted, page):
    "Typeset mathematics, previews, copy buttons; no error, no request, nothing too wide."
    check_widths(browser, counted)
    check_column(browser, counted)
    check_mathematics(browser)
    broken = "e.complete && !e.naturalWidth && e.loading != 'lazy'"
    assert number_of(browser, "img", broken) == 0
    as_written = r"^#\s*\||\\(?:boldsymbol|mathcal|tag)\b|\$\$|\{made\}"
    found = re.search(as_written, browser.ask(PROSE), re.M)
    assert not found, f"{found} shows as it is written"
    bare = number_of(browser, "article div.highlight pre", NOT_COPIED)
    assert bare == 0, f"{bare} blocks of code without a copy button"
    check_previews(browser, counted)
    counted["formulas"] += number_of(browser, "article mjx-container")
    counted["images"] += number_of(browser, "article img, article svg[role=img]")
    counted["copy buttons"] += number_of(browser, "article .copybtn")
    counted["links"] += len(pages.page(page).links)
    check_quiet(browser)
    check_weight(browser, page)
    counted["pages"] += 1


@pytest.mark.skipif(axe_core() is None, reason="axe-core is not installed: see the Makefile")
def test_a_page_is_accessible(browser, counted, page):
    "axe-core finds nothing serious, in light and in dark, and controls are called what they show."
    for theme, rules in (("light", ()), ("dark", ("color-contrast", "link-in-text-block"))):
        browser.theme(theme)
        found = browser.violations(*rules)
        assert not found, f"{theme}: {found}"
        counted["accessible views"] += 1
    browser.theme("light")
    assert not (named := browser.ask(NAMES)), f"called otherwise than they show: {named}"


@pytest.mark.parametrize(
    "old, new",
    [
        ("14_contrast", "25_contrast"),
        ("14_contrast#eq-6", "25_contrast#eq-6"),
        ("14_contrast#fig-14-1", "25_contrast#fig-25-1"),
        ("10_encoder#cell-10-encoder-0123", "21_encoder#cell-21-encoder-0123"),
        ("91_api#carat.nn", "api#carat.nn"),
    ],
)
def test_an_address_of_the_first_edition_leads_on(browser, old, new):
    def url(name):
        page, _, anchor = name.partition("#")
        path = (HTML / "nbs" / f"{page}.html").resolve().as_uri()
        return f"{path}#{anchor}" if anchor else path

    browser.open(url(old))
    for _ in range(100):
        if (at := browser.ask("location.href")) == url(new):
            break
        time.sleep(0.05)
    assert at == url(new)


def test_names_in_code_have_previews(browser, counted):
    opened(browser, HTML / API / "carat.data.store.html")
    names = {d.name for d in facts.facts().definitions.values() if not d.owner}
    found = browser.ask(f"""(() => {{
        const names = {json.dumps(sorted(names))};
        const all = [...document.querySelectorAll('article .highlight span.n')];
        const e = all.find(e => names.includes(e.textContent));
        if (e) e.id = 'the-name';
        return !!e;
    }})()""")
    assert found
    assert browser.point("#the-name")["text"].strip()
    counted["previews of names in code"] += 1


# each position of a figure's slider looks otherwise
MOVED = """
[...document.querySelectorAll('.carat-moving')].map(root => {
  const range = root.querySelector('input'), looks = new Set();
  const all = s => [...root.querySelectorAll(s)];
  for (let k = 0; k <= +range.max; k++) {
    range.value = k;
    range.dispatchEvent(new Event('input'));
    looks.add(all('[data-at]').map(e => e.style.display).join()
      + all('[data-glide]').map(e => e.style.transform).join()
      + root.querySelector('output').textContent);
  }
  const control = getComputedStyle(root.querySelector('.carat-control'));
  return looks.size == +range.max + 1 && control.display == 'flex';
})
"""
# each button of a clip is pressed alone and shows other words; another clip can be chosen
PICKED = """
[...document.querySelectorAll('.carat-clips')].map(root => {
  const clip = root.querySelector('.clip'), select = root.querySelector('select');
  const buttons = [...clip.querySelectorAll('button')], looks = new Set();
  const pressed = b => b.getAttribute('aria-pressed') == 'true';
  for (const b of buttons) {
    b.click();
    const words = [...clip.querySelectorAll('[data-a]')];
    looks.add(words.map(e => e.style.getPropertyValue('--a')).join());
    if (buttons.filter(pressed).length != 1 || !pressed(b)) return false;
  }
  if (select) {
    select.value = 1;
    select.dispatchEvent(new Event('change'));
    if (!clip.hidden || root.querySelectorAll('.clip')[1].hidden) return false;
  }
  return looks.size > 1;
})
"""
MOVING = {
    f"nbs/{name}"
    for name in ("00_start", "22_label_attention", "25_contrast", "26_prototypes", "27_shuffle")
}


def test_figures_move_when_the_reader_moves_them(browser, counted):
    moving = [p for p in pages.built() if re.search("carat-moving|carat-clips", pages.page(p).raw)]
    assert set(moving) >= MOVING
    for p in moving:
        opened(browser, HTML / f"{p}.html")
        moved, picked = browser.ask(MOVED), browser.ask(PICKED)
        assert all(moved) and all(picked) and moved + picked and browser.errors == [], p
        counted["figures that move"] += len(moved)
        counted["utterances to pick from"] += len(picked)


@lru_cache
def words_of_pages():
    "For every page the longer words of its paragraphs, in small letters."

    def prose(p):
        paragraphs = re.findall(r"<p>(.*?)</p>", onepage.article(pages.page(p).raw), re.S)
        marks = r"<(code|span class=.math).*?</(code|span)>|<[^>]*>|&\w+;"
        return re.sub(marks, " ", " ".join(paragraphs), flags=re.S)

    return {p: set(re.findall(r"\b[a-z]{6,}\b", prose(p).lower())) for p in pages.built()}


RESULTS = """
new Promise(answer => setTimeout(() => {
  const links = [...document.querySelectorAll('#search-results li a')];
  answer(links.map(a => a.getAttribute('href')));
}, 50))
"""
SEARCH = "document.querySelector('#search-results').replaceChildren(); Search.performSearch({!r})"
# of the modules' pages one is enough
SEARCHED = [p for p in toc_pages() if not p.startswith(API)] + [f"{API}/carat.core"]


def check_found(browser, name, word):
    "A search, which has begun, finds a page."
    for _ in range(60):
        found = browser.ask(RESULTS)
        if any(f"{name}.html" in f for f in found):
            return
    pytest.fail(f"{word!r} is on {name}, but the search found {found[:5]}")


def test_search_finds_a_word_of_each_page(browser, counted):
    words = words_of_pages()
    opened(browser, (HTML / "search.html").resolve().as_uri() + "?q=prototypes")
    check_found(browser, "nbs/26_prototypes", "prototypes")
    for name in SEARCHED:
        longest_first = sorted(words[name], key=lambda w: (-len(w), w))
        rare = min(longest_first, key=lambda w: sum(w in other for other in words.values()))
        browser.ask(SEARCH.format(rare))
        check_found(browser, name, rare)
        counted["searches"] += 1
    check_quiet(browser)


def test_the_one_page_opens(browser, counted):
    opened(browser, HTML / "print.html", patience=300)
    assert number_of(browser, "section.page") == len(toc_pages())
    check_mathematics(browser)
    check_quiet(browser)
    counted["formulas of the one page"] = number_of(browser, "mjx-container")
