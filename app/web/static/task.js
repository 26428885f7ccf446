import "./copy.js";

// The tools of a log. Without it the log is there, with a level, and as a file.

// Back to the search that one came from.
const back = document.querySelector("[data-back]");
const from = document.referrer && new URL(document.referrer);
if (from && from.origin === location.origin && from.pathname === back.pathname) back.href = from.href;

const card = document.querySelector("[data-logs]");
const lines = card.querySelector(".log");
const start = Date.parse(card.dataset.start);

function dressLines() {
  const wanted = card.querySelector("[data-log-search]").value.toLowerCase();
  const isRelative = card.querySelector("[data-relative]").checked;
  for (const line of lines.children) {
    line.hidden = wanted !== "" && !line.textContent.toLowerCase().includes(wanted);
    const time = line.querySelector("time");
    time.dataset.shown ??= time.textContent;
    const text = isRelative ? `+${((Date.parse(time.dateTime) - start) / 1000).toFixed(3)} s` : time.dataset.shown;
    if (time.textContent !== text) time.textContent = text;
  }
  card.querySelector("[data-none]").hidden = wanted === "" || [...lines.children].some((line) => !line.hidden);
}

card.addEventListener("input", dressLines);
card.querySelector("[data-sent]").addEventListener("change", (event) => event.target.form.requestSubmit());
new MutationObserver(dressLines).observe(lines, { childList: true });
