// What the pages do beyond plain HTML. Each part looks for its own elements, and
// every page works without it (the labelling page with one click an image).
"use strict";

const $ = (id) => document.getElementById(id);
const percent = (x) => (x * 100).toFixed(1) + "%";

async function send(method, path, body, headers = {}) {
  const init = { method, headers: { Accept: "application/json", ...headers } };
  if (body instanceof FormData) init.body = body;
  else if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers["Content-Type"] = "application/json";
  }
  const answer = await fetch(path, init);
  const text = await answer.text();
  let data = null;
  try { data = text ? JSON.parse(text) : null; } catch { /* not JSON: the status has to do */ }
  if (!answer.ok) throw new Error(data?.detail || data?.errors?.[0]?.message || `the gateway answered ${answer.status}`);
  return data;
}

function element(name, properties = {}, ...children) {
  const e = document.createElement(name);
  Object.assign(e, properties);
  e.append(...children);
  return e;
}

function trouble(error) {
  const box = $("trouble");
  if (!box) return;
  box.hidden = !error;
  box.textContent = error ? error.message : "";
}

// Small images are shown with hard edges: a blurred 28 x 28 is harder to judge.
function showTiny(img) {
  const set = () => img.classList.toggle("tiny", img.naturalWidth > 0 && img.naturalWidth <= 96);
  img.addEventListener("load", set);
  if (img.complete) set();
}

// Sign in: a link may carry the token behind #, which never leaves the browser
// but in this form.
function login() {
  const form = $("login");
  if (!form) return;
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!given) return;
  history.replaceState(null, "", location.pathname + location.search);
  form.elements.token.value = given;
  form.requestSubmit();
}

// Predict: preview, drop, paste, and the result without leaving the page.
function predict() {
  const form = $("upload");
  if (!form) return;
  const file = $("file"), drop = $("drop"), preview = $("preview"), camera = $("camera"), go = $("go");
  showTiny(preview);
  let chosen = null, address = "";

  async function take(next) {
    if (!next) return;
    chosen = next;
    if (address) URL.revokeObjectURL(address);
    address = URL.createObjectURL(next);
    preview.src = address;
    preview.hidden = false;
    drop.querySelector("strong").textContent = "Choose another picture";
    await judge();
  }
  async function judge() {
    if (!chosen) { file.click(); return; }
    trouble(null);
    go.disabled = true;
    $("result").classList.add("working");
    try {
      const body = new FormData();
      body.append("file", chosen, chosen.name || "photo");
      show(await send("POST", "/predict", body));
    } catch (error) {
      $("result").hidden = true;
      trouble(error);
    } finally {
      go.disabled = false;
      $("result").classList.remove("working");
    }
  }
  function show(p) {
    const rows = p.top.map((r) => {
      const row = element("tr", {}, element("th", { scope: "row", textContent: r.label }), element("td"), element("td", { className: "num", textContent: percent(r.probability) }));
      row.children[1].append(bar(r.probability));
      return row;
    });
    const path = p.key.split("/").map(encodeURIComponent).join("/");
    const flag = element("form", { method: "post", action: "/flag/" + path }, element("button", { textContent: "Doubt it" }));
    flag.dataset.quiet = "Thank you, flagged.";
    const select = element("select", { name: "corrected_class", required: true, id: "corrected" }, element("option", { value: "", textContent: "choose…" }), $("classes").content.cloneNode(true));
    const correct = element("form", { method: "post", action: "/correct-label/" + path },
      element("label", { htmlFor: "corrected", textContent: "It is really a" }), select, element("button", { textContent: "Correct" }));
    correct.dataset.quiet = "Thank you, your correction is kept.";
    const result = $("result");
    result.replaceChildren(
      element("p", { className: "eyebrow", textContent: "The model says" }),
      element("h2", { className: "verdict", textContent: p.prediction }),
      element("p", { className: "muted" }, percent(p.probability) + " sure · version ", element("code", { textContent: p.model_version })),
      element("table", { className: "ranks" }, element("tbody", {}, ...rows)),
      element("div", { className: "say" }, flag, correct));
    result.hidden = false;
    quietForms(result);
  }

  file.addEventListener("change", () => take(file.files[0]));
  camera.addEventListener("change", () => take(camera.files[0]));
  form.addEventListener("submit", (e) => { e.preventDefault(); chosen = file.files[0] || chosen; judge(); });
  for (const name of ["dragover", "dragenter"]) drop.addEventListener(name, (e) => { e.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (e) => { e.preventDefault(); take(e.dataTransfer.files[0]); });
  document.addEventListener("paste", (e) => take([...e.clipboardData.files].find((f) => f.type.startsWith("image/"))));
  quietForms(document);
}

function bar(share) {
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg");
  for (const [k, v] of Object.entries({ viewBox: "0 0 100 8", preserveAspectRatio: "none", class: "bar", "aria-hidden": "true" })) svg.setAttribute(k, v);
  for (const [cls, width] of [["bar-bed", 100], ["bar-fill", share * 100]]) {
    const rect = document.createElementNS(ns, "rect");
    for (const [k, v] of Object.entries({ class: cls, width, height: 8 })) rect.setAttribute(k, v);
    svg.append(rect);
  }
  return svg;
}

// Forms that answer 204 say thank you in place.
function quietForms(root) {
  for (const form of root.querySelectorAll("form[data-quiet]")) {
    form.addEventListener("submit", async (e) => {
      e.preventDefault();
      trouble(null);
      const values = Object.fromEntries(new FormData(form));
      try {
        await send("POST", form.getAttribute("action"), values);
        form.replaceChildren(element("span", { className: "done", role: "status", textContent: form.dataset.quiet }));
      } catch (error) { trouble(error); }
    });
  }
}

// Label: a queue of leased images, the next ones fetched beforehand.
function label() {
  const root = $("labeller");
  if (!root) return;
  const who = "annotator=" + encodeURIComponent(root.dataset.annotator); // a header can't hold every name
  const image = $("image"), says = $("model-says");
  const buttons = [...root.querySelectorAll(".choice")];
  const ahead = 8;
  let queue = [], busy = false, timer = 0;
  showTiny(image);
  if (localStorage.getItem("driftgate.says") === "closed") says.open = false;
  says.addEventListener("toggle", () => localStorage.setItem("driftgate.says", says.open ? "open" : "closed"));

  const warm = (task) => { new Image().src = task.image; };

  async function fill() {
    const got = await send("GET", `/api/v1/labels/tasks?n=${ahead}&${who}`);
    const known = new Set(queue.map((t) => t.id));
    for (const t of got.tasks) if (!known.has(t.id)) { queue.push(t); warm(t); }
    const p = got.progress;
    $("progress").textContent = `${p.waiting} waiting · ${p.answered} answered, not yet collected · ${p.labelled} labelled in all`;
    $("empty-title").textContent = p.waiting ? "Others hold what waits" : "Nothing waits for a label";
    draw();
  }
  function draw() {
    const t = queue[0];
    $("label-body").hidden = !t;
    $("empty").hidden = !!t;
    clearTimeout(timer);
    if (!t) { timer = setTimeout(() => fill().catch(trouble), 5000); return; }
    $("task").value = t.id;
    if (image.getAttribute("src") !== t.image) image.src = t.image;
    for (const b of buttons) { b.classList.toggle("said", says.open && b.value === t.predicted_class); b.classList.remove("pressed"); }
    const facts = [["Class", t.predicted_class], ["Confidence", t.confidence === null ? "–" : percent(t.confidence)],
      ["Picked because", t.stratum.replaceAll("_", " ")], ["The user said", t.corrected_class], ["Seen", new Date(t.timestamp).toISOString().slice(0, 16).replace("T", " ")]];
    $("about").replaceChildren(...facts.filter(([, v]) => v).flatMap(([k, v]) => [element("dt", { textContent: k }), element("dd", { textContent: v })]));
  }
  async function act(work) {
    if (busy) return;
    busy = true;
    trouble(null);
    try { await work(); if (queue.length <= ahead / 2) await fill(); else draw(); }
    catch (error) { trouble(error); queue = []; await fill().catch(trouble); }
    finally { busy = false; }
  }
  const choose = (b) => queue[0] && act(async () => {
    const t = queue[0];
    b.classList.add("pressed");
    await send("POST", "/api/v1/labels?" + who, { id: t.id, label: b.value });
    queue.shift();
    $("said").textContent = "labelled " + b.value;
  });
  const skip = () => queue[0] && act(async () => { const t = queue.shift(); await send("POST", "/api/v1/labels/skip?" + who, { id: t.id }); });
  const undo = () => act(async () => {
    const t = await send("POST", "/api/v1/labels/undo?" + who);
    queue = [t, ...queue.filter((q) => q.id !== t.id)];
    $("said").textContent = "the last answer is taken back";
  });

  $("label-form").addEventListener("submit", (e) => {
    e.preventDefault();
    const b = e.submitter;
    if (!b) return;
    if (b.value === "skip") skip(); else if (b.value === "undo") undo(); else choose(b);
  });
  $("empty").querySelector("form").addEventListener("submit", (e) => { e.preventDefault(); undo(); });
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, select, textarea")) return;
    if (e.key >= "0" && e.key <= "9") { const b = buttons[Number(e.key)]; if (b) choose(b); }
    else if (e.key === "s") skip();
    else if (e.key === "u") undo();
    else if (e.key === "m") { says.open = !says.open; draw(); }
    else return;
    e.preventDefault();
  });
  fill().catch(trouble);
}

// Accuracy: the figures of the point under the pointer, in words; the arrow keys
// go from point to point.
function chart() {
  for (const box of document.querySelectorAll("[data-chart]")) {
    const readout = box.querySelector(".readout");
    const first = readout.textContent;
    const read = (hit) => { readout.textContent = hit.querySelector("title").textContent; };
    for (const hit of box.querySelectorAll(".hit")) {
      hit.addEventListener("pointerenter", () => read(hit));
      hit.addEventListener("pointerleave", () => { readout.textContent = first; });
    }
    const shown = () => [...box.querySelectorAll(".hit")].filter((h) => h.checkVisibility());
    const leave = () => { for (const h of box.querySelectorAll(".hit.on")) h.classList.remove("on"); };
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", "Chart; the arrow keys go from point to point");
    box.addEventListener("keydown", (e) => {
      const hits = shown(), step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[e.key];
      if (!step || !hits.length) return;
      const at = hits.findIndex((h) => h.classList.contains("on"));
      const next = hits[Math.min(Math.max(at < 0 ? (step < 0 ? hits.length - 1 : 0) : at + step, 0), hits.length - 1)];
      leave();
      next.classList.add("on");
      readout.setAttribute("aria-live", "polite");
      read(next);
      e.preventDefault();
    });
    box.addEventListener("blur", () => { leave(); readout.setAttribute("aria-live", "off"); readout.textContent = first; });
  }
}

// Runs: progress as it comes; a run that begins or ends renews the page.
function runs() {
  if (document.body.dataset.page !== "runs") return;
  const known = new Map([...document.querySelectorAll("#runs tr[data-run]")].map((r) => [r.dataset.run, r.dataset.state]));
  watch((status) => {
    for (const r of status.runs) {
      if (known.get(r.id) !== r.state && !busy() && !new URLSearchParams(location.search).get("pipeline")) { location.reload(); return; }
      const card = document.querySelector(`.run-live[data-run="${CSS.escape(r.id)}"]`), p = r.progress;
      if (!card || !p || !p.epochs) continue;
      const share = p.trials ? p.share || 0 : Math.min(1, ((Math.max(p.epoch - 1, 0)) + (p.steps ? p.step / p.steps : 0)) / p.epochs);
      card.querySelector(".meter-fill").setAttribute("width", (share * 200).toFixed(1));
      card.querySelector("[data-words]").textContent = `${p.phase || "training"}${p.trials ? ` · trial ${p.trial} of ${p.trials}` : ""} · epoch ${p.epoch} of ${p.epochs} · loss ${p.loss.toPrecision(3)} · ${p.samples_per_second.toFixed(0)} images/s · ${Math.ceil(p.seconds_left)} s left${p.best_trial ? ` · best so far trial ${p.best_trial} with ${p.best_accuracy.toFixed(3)}` : ""}`;
    }
  });
}

// Accuracy, models, decisions: renewed when what they show has changed, at most
// every few seconds, and not while somebody is writing or reading a point.
function renew() {
  const page = document.body.dataset.page;
  const show = {
    accuracy: (s) => [s.windows.map((w) => [w.end, w.labels]), s.alarm.state, s.alarm.closed_until, s.drift.end, s.champion?.version],
    models: (s) => [s.champion?.generation, s.runs.filter((r) => r.finished_at).length],
    decisions: (s) => [s.alarm.state, s.champion?.generation, s.runs.length && s.runs[0].id],
  }[page];
  if (!show) return;
  let seen = null, due = 0;
  watch(async (status) => {
    const now = JSON.stringify(show(status));
    if (seen === null) { seen = now; due = Date.now() + 5000; return; }
    if (now === seen || Date.now() < due || document.hidden) return;
    if (busy()) return;
    seen = now;
    due = Date.now() + 5000;
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) return;
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(next.querySelector("main"));
    document.querySelector("header.top").replaceWith(next.querySelector("header.top"));
    chart();
  });
}

// Somebody is in the middle of something that a renewal would take away: among
// others the place where the keyboard is.
function busy() {
  return !!document.querySelector("details[open], .hit:hover, form input:focus, select:focus, main :focus-visible") || [...document.querySelectorAll("[popover]")].some((p) => p.checkVisibility?.());
}

function watch(see) {
  const stream = new EventSource("/events");
  stream.addEventListener("status", (e) => see(JSON.parse(e.data)));
  addEventListener("pagehide", () => stream.close());
}

document.querySelector('.top [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
login();
predict();
label();
chart();
runs();
renew();
