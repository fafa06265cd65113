// What pages do beyond being read: follow the fleet, say when they no longer can, copy, and keys. Every page works without.
"use strict";
(() => {
  const body = document.body;
  const version = document.querySelector('meta[name="probity-version"]').content;
  const $ = (id) => document.getElementById(id);

  // say shows one lasting message about the page itself; an empty text ends the message of that kind.
  let said = "";
  function say(kind, text, link, address) {
    const box = $("state");
    if (!box || (!text && said !== kind) || (text && said === "upgrade")) return;
    box.replaceChildren();
    said = text ? kind : "";
    if (!text) return;
    const notice = document.createElement("div");
    notice.className = "notice care";
    const p = document.createElement("p");
    p.append(text);
    if (link) {
      const a = document.createElement("a");
      a.href = address;
      a.textContent = link;
      p.append(" ", a);
    }
    notice.append(p);
    box.append(notice);
  }
  const clock = () => new Date().toLocaleTimeString();
  const here = () => location.pathname + location.search;
  let loaded = clock();
  const down = () => say("down", "The verifier does not answer. This page shows the fleet as it was at " + loaded + " and follows again by itself.");
  const ended = () => say("ended", "Your session has ended. This page no longer follows the fleet.", "Sign in again", "/signin?next=" + encodeURIComponent(here()));
  function upgraded(now) {
    if (now && now !== version) say("upgrade", "The verifier was upgraded to " + now + " while this page was open.", "Load the page again", here());
  }

  // Live: events become DOM events "live" and "live:KIND" on the body, at most one refresh in two seconds.
  const pace = 2000;
  const waiting = new Set();
  let timer = 0, last = 0, live = false;
  function flush() {
    timer = 0;
    if (document.hidden || editing()) { timer = setTimeout(flush, pace); return; }
    last = Date.now();
    const kinds = [...waiting];
    waiting.clear();
    body.dispatchEvent(new CustomEvent("live"));
    for (const k of kinds) body.dispatchEvent(new CustomEvent("live:" + k));
  }
  function happened(kind) {
    waiting.add(kind);
    if (!timer) timer = setTimeout(flush, Math.max(100, last + pace - Date.now()));
  }
  // A list in which somebody has chosen devices stays as it is until they are done.
  const editing = () => document.querySelector("[data-keep] input:checked") !== null || document.querySelector("dialog[open]") !== null;

  let indicator = 0;
  function shown(on) {
    const e = $("live");
    if (!e) return;
    clearTimeout(indicator);
    const set = () => { e.hidden = false; e.classList.toggle("off", !on); e.textContent = on ? "Live" : "Not live"; };
    if (on) set(); else indicator = setTimeout(set, 1500);
  }
  let failures = 0;
  function follow() {
    const source = new EventSource(body.dataset.stream);
    source.onopen = () => {
      shown(true);
      say("down", "");
      if (failures) for (const k of ["device", "fleet", "manifest", "alert", "audit"]) happened(k); // what happened meanwhile
      failures = 0;
      live = true;
    };
    for (const kind of ["device", "fleet", "manifest", "alert", "audit"]) source.addEventListener(kind, () => happened(kind));
    source.onerror = () => {
      live = false;
      failures++;
      shown(false);
      const closed = source.readyState === EventSource.CLOSED;
      check(closed ? () => setTimeout(follow, Math.min(30000, 1000 * 2 ** Math.min(failures, 5))) : null);
    };
    addEventListener("pagehide", () => source.close(), { once: true });
  }
  // check finds out why the stream ended: verifier down, session over, or just the connection.
  async function check(again) {
    try {
      const answer = await fetch("/ping", { cache: "no-store" });
      upgraded(answer.headers.get("Probity-Version"));
      if (answer.status === 401) { ended(); return; }
      if (answer.ok && !live) say("down", "");
    } catch {
      if (failures > 1) down();
    }
    if (again) again();
  }
  if (body.dataset.stream) follow();
  addEventListener("pageshow", (e) => { if (e.persisted && body.dataset.stream) location.reload(); });

  // Answers to htmx: refusals are said, never swapped into the page.
  body.addEventListener("htmx:afterRequest", (e) => {
    const x = e.detail.xhr;
    if (!x || !x.status) { down(); return; }
    upgraded(x.getResponseHeader("Probity-Version"));
    if (x.status === 401) ended();
    else if (e.detail.successful) { loaded = clock(); say("down", ""); say("failed", ""); }
    else say("failed", "The verifier could not renew this page (" + x.status + ").", "Load it again", here());
  });
  body.addEventListener("htmx:sendError", down);
  body.addEventListener("htmx:afterSettle", (e) => { dress(document); if (e.detail.elt && e.detail.elt.dataset && e.detail.elt.dataset.gone) location.reload(); });

  // Times that say "3 min ago" go on saying the truth.
  function span(s) {
    if (s < 120) return s + " s";
    if (s < 7200) return Math.floor(s / 60) + " min";
    if (s < 172800) return Math.floor(s / 3600) + " h";
    return Math.floor(s / 86400) + " days";
  }
  function ago() {
    for (const t of document.querySelectorAll("time[data-ago]")) {
      const s = Math.floor((Date.now() - Date.parse(t.dateTime)) / 1000);
      const text = s < -1 ? "in " + span(-s) : s < 5 ? "just now" : span(s) + " ago";
      if (t.textContent !== text) t.textContent = text;
    }
  }
  setInterval(() => { if (!document.hidden) ago(); }, 5000);

  // dress makes ready what only scripts can do, also in parts that were fetched again.
  function dress(root) {
    for (const b of root.querySelectorAll("button.copy[hidden]")) b.hidden = false;
    for (const all of root.querySelectorAll("input[data-all][hidden]")) all.hidden = false;
    for (const e of root.querySelectorAll("[data-script-only][hidden]")) e.hidden = false;
    for (const e of root.querySelectorAll("[data-no-script]")) e.hidden = true;
    counted();
    ago();
  }
  function counted() {
    const n = document.querySelectorAll("[data-keep] .check input[name=device]:checked").length;
    for (const e of document.querySelectorAll("[data-selected]")) {
      if (!e.dataset.none) e.dataset.none = e.textContent;
      e.textContent = n ? n + " selected on this page" : e.dataset.none;
    }
  }
  body.addEventListener("change", (e) => {
    if (e.target.matches("input[data-all]")) {
      for (const c of document.querySelectorAll("input[name=device]")) c.checked = e.target.checked;
    }
    if (e.target.matches(".filters select, .filters input[type=checkbox], select[data-submit]")) e.target.form.requestSubmit();
    counted();
  });
  body.addEventListener("click", async (e) => {
    const t = e.target.closest("[data-copy]");
    if (!t) return;
    try {
      await navigator.clipboard.writeText(t.dataset.copy);
      const label = t.matches("button") ? t.lastChild : null;
      if (label) { const old = label.textContent; label.textContent = "Copied"; setTimeout(() => { label.textContent = old; }, 1500); }
    } catch { /* the browser forbids it: the text is there to be copied by hand */ }
  });
  // Questions before what cannot be undone: <form data-confirm="Remove 3 devices?">.
  body.addEventListener("submit", (e) => {
    const text = (e.submitter && e.submitter.dataset.confirm) || e.target.dataset.confirm;
    if (text && !confirm(text)) e.preventDefault();
  });
  // Empty fields do not go into addresses.
  body.addEventListener("formdata", (e) => {
    if (e.target.method !== "get") return;
    for (const [k, v] of [...e.formData.entries()]) if (v === "") e.formData.delete(k);
  });
  document.addEventListener("keydown", (e) => {
    if (e.key === "Escape") for (const d of document.querySelectorAll("details.drop[open]")) { d.open = false; d.querySelector("summary").focus(); }
    if (e.key !== "/" || e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, textarea, select")) return;
    const find = $("find");
    if (find) { e.preventDefault(); find.focus(); find.select(); }
  });
  document.addEventListener("click", (e) => {
    for (const d of document.querySelectorAll("details.drop[open]")) if (!d.contains(e.target)) d.open = false;
  });
  dress(document);
})();
