/* What the pages do by themselves: previews of what a link leads to, and foldable blocks that open when an address points into them. No request is made. */
(function () {
  "use strict";
  const root = new URL(document.documentElement.dataset.content_root || "./", location.href).href;
  const data = typeof BOOK === "object" ? BOOK : { previews: {}, names: {} };

  /* a page that is read from a file may not fetch the others, so the search shows titles without summaries there */
  if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS === "object") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

  function key(href) { // the address of a page of the book, relative to its root
    let url;
    try { url = new URL(href, location.href); } catch (e) { return ""; }
    if (!(url.href.split(/[?#]/)[0]).startsWith(root.split(/[?#]/)[0])) return "";
    const hash = decodeURIComponent(url.hash), rest = url.href.split(/[?#]/)[0].slice(root.length);
    const one = /^#([\w.]+)--(.+)$/.exec(hash), section = one && document.getElementById(one[1]);
    return rest === "print.html" && section ? section.dataset.page + ".html#" + one[2] : rest + hash;
  }
  function preview(element) {
    if (element.tagName === "A") {
      if (element.classList.contains("headerlink") || element.closest(".prev-next-area, .onepage .contents")) return "";
      return data.previews[key(element.href)];
    }
    const symbol = /(?:^| )(symbol-[\w-]+)/.exec(element.getAttribute("class") || "");
    return data.previews[symbol ? data.symbols + "#" + symbol[1] : data.names[element.textContent]];
  }

  /* one box for all previews; it may be pointed into, and Escape closes it */
  let box, owner = null, timer = 0;
  function make() {
    box = document.createElement("div");
    box.id = "preview";
    box.className = "preview tex2jax_process mathjax_process";
    box.setAttribute("role", "tooltip");
    box.hidden = true;
    box.addEventListener("pointerenter", () => clearTimeout(timer));
    box.addEventListener("pointerleave", () => hide(200));
    document.body.append(box);
  }
  function place(element) {
    const gap = 8, rects = element.getClientRects(), r = rects[0] || element.getBoundingClientRect();
    const wide = document.documentElement.clientWidth, high = document.documentElement.clientHeight;
    box.style.maxWidth = Math.min(560, wide - 2 * gap) + "px";
    const w = box.offsetWidth, h = box.offsetHeight;
    box.style.left = Math.max(gap, Math.min(r.left, wide - w - gap)) + "px";
    const below = r.bottom + gap + h <= high || r.top - gap - h < 0;
    box.style.top = Math.max(gap, below ? r.bottom + gap : r.top - gap - h) + "px";
  }
  function show(element) {
    const text = preview(element);
    if (!text) return;
    if (!box) make();
    clearTimeout(timer);
    owner = element;
    if (element.title) { element.dataset.title = element.title; element.removeAttribute("title"); }
    if (element.tagName === "A") element.setAttribute("aria-describedby", "preview");
    box.hidden = false;
    if (box.dataset.of !== text) {
      if (window.MathJax && MathJax.typesetClear) MathJax.typesetClear([box]);
      box.innerHTML = text;
      box.dataset.of = text;
    }
    place(element);
    if (box.querySelector(".math") && !box.querySelector("mjx-container") && window.MathJax && MathJax.startup) {
      MathJax.startup.promise.then(() => MathJax.typesetPromise([box])).then(() => { if (owner === element) place(element); });
    }
  }
  function hide(after) {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (!owner) return;
      owner.removeAttribute("aria-describedby");
      owner = null;
      box.hidden = true;
    }, after);
  }
  function target(event) {
    const e = event.target;
    if (!e.closest) return null;
    return e.closest("article a[href]") || e.closest("article mjx-container [class*='symbol-']") || e.closest("article .highlight span.n, article .highlight span.nc, article .highlight span.nf");
  }
  document.addEventListener("pointerover", event => {
    if (event.pointerType === "touch") return;
    const element = target(event);
    if (!element || element === owner) { if (element) clearTimeout(timer); return; }
    if (!preview(element)) return;
    clearTimeout(timer);
    timer = setTimeout(() => show(element), owner ? 60 : 180);
  });
  document.addEventListener("pointerout", event => { if (target(event)) hide(250); });
  document.addEventListener("focusin", event => { const element = target(event); if (element && element.matches(":focus-visible")) show(element); });
  document.addEventListener("focusout", () => hide(0));
  document.addEventListener("keydown", event => { if (event.key === "Escape") hide(0); });
  document.addEventListener("scroll", () => { if (owner) place(owner); }, { passive: true });

  /* what opens a branch of the list of pages is called by it */
  document.querySelectorAll(".bd-sidebar-primary summary").forEach(e => {
    const page = e.closest("li").querySelector("a");
    e.setAttribute("aria-label", "pages below " + (page ? page.textContent.trim() : "this one"));
  });

  /* a notebook is saved, not shown */
  document.querySelectorAll("a.btn-download-source-button, a.btn-download-executed-button").forEach(a => { a.download = ""; a.removeAttribute("target"); });

  /* what scrolls sideways fades out where it goes on, and the keyboard can reach it */
  const SCROLLS = "article pre, article .pst-scrollable-table-container, article div.math, article .carat-figure, article .cell_output div, article dt.sig, article mjx-container, article span.math";
  function fade(box) {
    const beyond = box.scrollWidth - box.clientWidth;
    if (box.matches("span.math")) box.classList.toggle("scrolls", beyond > 8); // less is the overhang of an accent
    const scrolls = beyond > 2 && /auto|scroll/.test(getComputedStyle(box).overflowX);
    const name = box.querySelector(":scope > table tr > :first-child"); // the names of rows stay where they leave room
    const stays = scrolls && name !== null && name.offsetWidth < 0.4 * box.clientWidth;
    box.classList.toggle("keeps-names", stays);
    box.classList.toggle("fades-left", scrolls && !stays && box.scrollLeft > 2);
    box.classList.toggle("fades-right", scrolls && box.scrollLeft < beyond - 2);
    if (scrolls && !box.hasAttribute("data-scrolls")) {
      box.setAttribute("data-scrolls", "");
      if (box.tabIndex < 0) box.tabIndex = 0;
      if (!box.hasAttribute("role")) { box.setAttribute("role", "group"); box.setAttribute("aria-label", "scrolls sideways"); }
      box.addEventListener("scroll", () => fade(box), { passive: true });
    } else if (!scrolls && box.hasAttribute("data-scrolls")) {
      box.removeAttribute("data-scrolls");
      box.removeAttribute("tabindex");
      if (box.getAttribute("aria-label") === "scrolls sideways") { box.removeAttribute("role"); box.removeAttribute("aria-label"); }
    }
  }
  function fadeAll() { document.querySelectorAll(SCROLLS).forEach(fade); }
  window.addEventListener("load", () => {
    const watch = new ResizeObserver(entries => entries.forEach(e => fade(e.target)));
    document.querySelectorAll(SCROLLS).forEach(box => watch.observe(box));
    fadeAll();
    if (window.MathJax && MathJax.startup) MathJax.startup.promise.then(fadeAll);
  });

  /* what an address points at is opened */
  function open() {
    const id = decodeURIComponent(location.hash.slice(1)), there = id && document.getElementById(id);
    if (!there) return;
    const folded = there.matches("details") ? there : there.querySelector(":scope > details, :scope > .cell_input > details") || (there.nextElementSibling && there.nextElementSibling.matches("details") ? there.nextElementSibling : null);
    if (folded) folded.open = true;
    for (let p = there.parentElement; p; p = p.parentElement) if (p.matches("details")) p.open = true;
    there.scrollIntoView();
  }
  window.addEventListener("hashchange", open);
  window.addEventListener("load", open);
})();
