// What moves on a page: states as they are committed, durations, and keys. Without it every page works, and stands still.

document.documentElement.classList.add("scripts");
const question = document.getElementById("ask");
const badge = document.querySelector("[data-live]");
const spoken = badge?.textContent;

// ---- rows: the newest state of each task, painted once a frame --------------------------------------------------------

const newest = new Map();
let frame = 0;

function take(event) {
  const task = JSON.parse(event.data);
  const known = newest.get(task.id);
  if (known && known.version >= task.version) return;
  newest.set(task.id, task);
  frame ||= requestAnimationFrame(paintAll);
}

function paintAll() {
  frame = 0;
  for (const task of newest.values()) paint(task);
  newest.clear();
}

function paint(task) {
  const row = document.querySelector(`[data-task-id="${CSS.escape(task.id)}"]`);
  if (!row || Number(row.dataset.version) >= task.version) return;
  const words = wordsOf(row);
  const status = row.querySelector('[data-field="status"]');
  const word = words[task.cancel_requested_at && task.status === "running" ? "stopping" : task.status];
  const detail = JSON.stringify(task.progress_detail, null, 2);
  // Another state, attempt or detail has other deeds, facts or parts: the server renders them.
  if (row.id && (status.textContent !== word || Number(row.dataset.attempt) !== task.attempt ||
    (task.progress_detail && !row.querySelector('[data-field="detail"]')))) return refresh();
  row.dataset.version = task.version;
  row.dataset.state = task.status;
  draw(task);
  status.dataset.status = task.status;
  status.textContent = word;
  const bar = row.querySelector('[data-field="progress"]');
  if (bar) bar.value = task.progress;
  bar?.setAttribute("aria-valuenow", task.progress);
  write(row, "percent", `${task.progress} %`);
  write(row, "attempt", task.attempt);
  write(row, "detail", detail);
  const why = task.waiting_for;
  write(row, "why", why ? `${words[why.reason]} ${why.until ? age((Date.now() - Date.parse(why.until)) / 1000) : why.key ?? ""}` : "");
  write(row, "error", task.error ? `${task.error.type}: ${(task.error.message ?? "").slice(0, 200)}` : "");
  const ran = (Date.now() - Date.parse(task.started_at)) / 1000;
  const left = (ran * (100 - task.progress)) / task.progress;
  const known = task.status === "running" && task.progress > 0 && task.progress < 100;
  write(row, "left", known ? words.left.replace("{time}", brief(left, words)) : "");
  const lasts = row.querySelector('[data-field="duration"]');
  if (lasts) {
    lasts.dataset.since = (task.status !== "pending" && task.started_at) || "";
    lasts.dataset.until = task.finished_at ?? "";
    lasts.textContent = lasts.dataset.since && lasts.textContent;
  }
}

// The picture of the progress, of what this page has seen of the attempt that runs.
const course = [];

function draw(task) {
  const picture = document.querySelector("[data-course]");
  if (!picture || !task.started_at) return;
  const at = Date.now() - Date.parse(task.started_at);
  if (course.at(-1)?.at > at) course.length = 0;
  if (course.at(-1)?.progress === task.progress) return;
  course.push({ at, progress: task.progress });
  const points = course.map((each) => `${((600 * each.at) / Math.max(at, 1)).toFixed(1)} ${100 - each.progress}`);
  picture.querySelector("path").setAttribute("d", `M${points.join("L")}`);
  picture.hidden = course.length < 2;
}

function wordsOf(element) {
  return JSON.parse(element.closest("[data-words]").dataset.words);
}

function write(row, field, text) {
  const cell = row.querySelector(`[data-field="${field}"]`);
  if (cell) cell.textContent = text;
}

// ---- the stream of this page, one at most; a hidden page has none -------------------------------------------------------

let source = null;

function follow() {
  const wanted = document.querySelector("[data-events]")?.dataset.events;
  if (!wanted) {
    stop("paused");
    if (badge && !document.querySelector("[data-refresh]")) badge.hidden = true; // nothing moves any more
    return;
  }
  if (document.hidden || source?.url === new URL(wanted, location).href) return;
  source?.close();
  source = new EventSource(wanted);
  source.addEventListener("task", take);
  source.addEventListener("open", () => show("live"));
  source.addEventListener("error", () => {
    // 204 after the last state, a login that has ended, or no room for a stream: the browser does not try again.
    if (source?.readyState !== EventSource.CLOSED) return show("stale");
    stop("paused");
    setTimeout(refresh, AGAIN_MS);
  });
}

function stop(state) {
  if (source) show(state);
  source?.close();
  source = null;
}

function show(state) {
  badge.hidden = false;
  badge.dataset.live = state;
  badge.textContent = state === "live" ? spoken : badge.dataset[state];
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return stop("paused");
  refresh();
  follow();
});

// ---- parts that the server renders again ---------------------------------------------------------------------------------

const AGAIN_MS = 2000;
const POLL_MS = 5000;
let refreshing = false;
let again = false;

// A selection freezes what is selected, and a question the form that it is about. What only a POST shows cannot be read again.
function isFrozen() {
  return document.hidden || question.open || document.body.dataset.posted || document.querySelector("[data-select]:checked");
}

async function refresh() {
  if (refreshing) again = true;
  if (refreshing || isFrozen()) return;
  refreshing = true;
  const answer = await fetch(location.href).catch(() => null);
  const text = answer?.ok ? await answer.text().catch(() => null) : null;
  if (answer?.redirected) return location.assign(answer.url); // the login has ended
  if (answer?.status === 404) return location.reload(); // what it showed was deleted
  const isPolled = document.querySelector("[data-refresh]");
  if (text !== null) {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    for (const part of isFrozen() ? [] : document.querySelectorAll("[data-refreshed]")) {
      const next = fresh.getElementById(part.id);
      if (next && !isTyped(part) && !stays(part, next)) replace(part, next);
    }
    dress();
    countSelected();
    follow();
    if (isPolled) show("live");
  } else {
    show("stale");
    if (!isPolled) setTimeout(refresh, AGAIN_MS);
  }
  refreshing = false;
  if (again) refresh();
  again = false;
}

// A dialog that is open in it counts too.
function isTyped(part) {
  if (part.querySelector(":popover-open")) return true;
  const isShown = (each) => !each.closest("[popover]"); // an open one has been found above
  return [...part.querySelectorAll("input:not([type=hidden]), textarea")].some((each) => each.value !== each.defaultValue && isShown(each));
}

// The focus stays on the link or button that leads to the same.
function replace(part, next) {
  const leadsTo = (each) => each.href ?? each.getAttribute("popovertarget") ?? (each.form ? each.form.action + each.textContent : null);
  const focused = part.contains(document.activeElement) ? leadsTo(document.activeElement) : null;
  part.replaceWith(next);
  if (focused) [...next.querySelectorAll("a, button")].find((each) => leadsTo(each) === focused)?.focus({ preventScroll: true });
}

// Rows that are followed keep their places; newer ones wait behind a note. The ids of tasks are in the order of time.
function stays(part, next) {
  const note = document.querySelector("[data-new]");
  const first = part.querySelector("[data-task-id]")?.dataset.taskId;
  if (part.id === "rows" && !first && next.querySelector("[data-task-id]")) location.reload(); // now with deeds
  if (part.id !== "rows" || !source || !first) return false;
  const newer = [...next.querySelectorAll("[data-task-id]")].filter((row) => row.dataset.taskId > first).length;
  note.hidden = !newer;
  note.querySelector("[data-new-count]").textContent = newer < 50 ? newer : "50+";
  return true;
}

(function poll(isFirst) {
  const every = document.querySelector("[data-refresh]")?.dataset.refresh;
  if (every && !isFirst) refresh();
  setTimeout(poll, Number(every ?? POLL_MS));
})(true);

// ---- the lines and the output of a body, asked for while it runs ----------------------------------------------------------------------

const LINES = 2000;
const asked = new WeakSet();

function endFollowing(log) {
  delete log.dataset.follows;
  log.querySelector("[data-follow]")?.closest("label").remove();
}

async function followLines(log) {
  const isFollowed = log.querySelector("[data-follow]")?.checked !== false;
  if (asked.has(log) || document.hidden || !isFollowed) return;
  asked.add(log);
  const hasEnded = !document.querySelector("[data-events]"); // asked before: what it logged was there before its end
  try {
    const list = log.querySelector(".log");
    const after = list.lastElementChild?.dataset.seq ?? 0;
    const answer = await fetch(`${log.dataset.logs}after=${after}`);
    if (!answer.ok || answer.redirected) return;
    const lines = new DOMParser().parseFromString(await answer.text(), "text/html").querySelectorAll("li");
    const atEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 4;
    list.append(...lines);
    while (list.children.length > LINES) list.firstElementChild.remove();
    if (lines.length) dress(list);
    else if (hasEnded) endFollowing(log);
    if (atEnd) list.scrollTop = list.scrollHeight;
  } finally {
    asked.delete(log);
  }
}

const followAll = () => document.querySelectorAll("[data-logs][data-follows]").forEach(followLines);
if (document.querySelector("[data-follows]")) setInterval(followAll, 500);

// ---- what is asked before it is done, and what is selected ----------------------------------------------------------------

// Whoever asked last is answered: a dialog may be opened again before the browser tells that it was closed.
let answer = null;
question.addEventListener("close", () => {
  if (question.open) return;
  answer?.(question.returnValue === "yes");
  answer = null;
  if (question.returnValue !== "yes") refresh(); // with what has changed meanwhile
});

// Resolves to whether the reader goes on.
function ask(what, label) {
  answer?.(false);
  document.getElementById("ask-what").textContent = what;
  question.querySelector("[data-label]").textContent = label;
  question.returnValue = "";
  if (!question.open) question.showModal();
  return new Promise((resolve) => (answer = resolve));
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.ask || form.elements.confirmed) return;
  event.preventDefault();
  if (!(await ask(form.dataset.ask, event.submitter?.textContent.trim() ?? ""))) return;
  form.append(Object.assign(document.createElement("input"), { type: "hidden", name: "confirmed", value: "true" }));
  form.requestSubmit();
});

function countSelected() {
  const form = document.getElementById("bulk");
  if (!form) return;
  const all = form.querySelector("[data-select-all]");
  const boxes = [...document.querySelectorAll("[data-select]")];
  if (all.checked) for (const box of boxes) box.checked = true;
  const number = boxes.filter((box) => box.checked).length;
  const words = form.querySelector("[data-selected]");
  words.textContent = all.checked ? "" : words.dataset.selected.replace("{number}", number);
  form.classList.toggle("unused", !number);
  const page = document.querySelector("[data-select-page]");
  if (page) [page.hidden, page.checked] = [false, number > 0 && number === boxes.length];
}

document.addEventListener("change", (event) => {
  const box = event.target;
  if (box.matches("[data-choose]")) box.form.requestSubmit(box.form.elements.choose);
  if (box.matches("[data-select-page]")) for (const each of document.querySelectorAll("[data-select]")) each.checked = box.checked;
  const all = document.querySelector("[data-select-all]");
  if (all && !box.checked && box.matches("[data-select], [data-select-page]")) all.checked = false;
  if (all === box && !box.checked) for (const each of document.querySelectorAll("[data-select]")) each.checked = false;
  if (box.matches("[data-select], [data-select-page], [data-select-all]")) countSelected();
});
for (const choose of document.querySelectorAll("[name=choose]")) choose.hidden = true;
// What was chosen before this script had come, or is brought back by the browser, is shown too.
for (const box of document.querySelectorAll("[data-choose]")) {
  const shown = [...box.options].find((each) => each.defaultSelected) ?? box.options[0];
  if (box.value !== shown?.value) box.form.requestSubmit(box.form.elements.choose);
}

// ---- times ----------------------------------------------------------------------------------------------------------------

const local = document.documentElement.dataset.times === "local";
const CLOCKS = { "": [11], minute: [11, 16], day: [5, 10] };
const clock = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });

function dress(within = document) {
  if (local) for (const time of within.querySelectorAll("time:not([data-zoned])")) {
    const shown = clock.format(new Date(time.dateTime));
    if ("age" in time.dataset) time.title = shown;
    else time.textContent = shown.slice(...(CLOCKS[time.dataset.clock] ?? [0]));
  }
  for (const log of within.querySelectorAll(".log")) log.scrollTop = log.scrollHeight;
}

const ages = JSON.parse(document.body.dataset.ages);

function age(seconds) {
  if (Math.abs(seconds) < 1) return ages.now;
  const [name, size] = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]].find(([, size]) => Math.abs(seconds) >= size);
  return ages[seconds > 0 ? "ago" : "in"].replace("{time}", `${Math.floor(Math.abs(seconds) / size)} ${ages[name]}`);
}

export function brief(seconds, words) {
  if (seconds < 1) return `${(Math.max(seconds, 0) * 1000).toFixed(0)} ${words.ms}`;
  if (seconds < 10) return `${seconds.toFixed(1)} ${words.s}`;
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  return units.slice(first, first + 2).map(([name, size]) => {
    const number = Math.floor(seconds / size);
    seconds -= number * size;
    return `${number} ${words[name]}`;
  }).filter((part) => !part.startsWith("0 ")).join(" ");
}

setInterval(() => {
  if (document.hidden) return;
  for (const cell of document.querySelectorAll('[data-field="duration"][data-since^="2"]')) {
    const until = cell.dataset.until ? Date.parse(cell.dataset.until) : Date.now();
    cell.textContent = brief((until - Date.parse(cell.dataset.since)) / 1000, wordsOf(cell));
  }
  for (const time of document.querySelectorAll("time[data-age]")) time.textContent = age((Date.now() - Date.parse(time.dateTime)) / 1000);
}, 1000);

// ---- keys -----------------------------------------------------------------------------------------------------------------

const keys = document.getElementById("keys");
const base = document.querySelector(".brand").getAttribute("href");
const places = { o: "", t: "tasks", q: "queues", e: "errors" };
let before = "";

function move(step) {
  const links = [...document.querySelectorAll("tr[data-task-id] a.name")];
  const at = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
  links[Math.min(Math.max(at + step, 0), links.length - 1)]?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input:not([type=checkbox]), select, textarea")) return;
  const key = event.key;
  const button = document.querySelector(`button[data-key="${CSS.escape(key)}"]`);
  const search = document.querySelector("[data-search]");
  if (before === "g" && key in places) location.assign(base + places[key]);
  else if (key === "/") search ? search.focus() : location.assign(`${base}tasks`);
  else if (key === "j") move(1);
  else if (key === "k") move(-1);
  else if (key === "x") document.activeElement.closest("tr")?.querySelector("[data-select]")?.click();
  else if (key === "n") location.assign(`${base}new`);
  else if (key === "?") keys.showModal();
  else if (button) {
    // A button with an address of its own leads to a preview of what is selected: of the row that has the focus, if nothing is.
    const box = button.form.id === "bulk" && !document.querySelector("[data-select]:checked") && document.activeElement.closest("tr")?.querySelector("[data-select]");
    if (box) box.click();
    if (button.form.id === "bulk" && !document.querySelector("[data-select]:checked")) return;
    const label = button.textContent.trim();
    if (button.hasAttribute("formaction") || button.form.dataset.ask) button.click();
    else ask(`${label}?`, label).then((yes) => yes && button.click());
  } else return (before = key);
  before = "";
  event.preventDefault();
});

const help = document.querySelector("[data-help]");
help.hidden = false;
help.addEventListener("click", () => keys.showModal());

dress();
countSelected();
addEventListener("pageshow", countSelected); // with the boxes that the browser has ticked again
follow();
