// The form of a schedule: its next times are shown while one types.

const WAIT_MS = 250;
// What decides the times. Nothing else is sent: addresses are logged.
const TIMING = ["by", "cron", "every_seconds", "timezone", "start_at", "end_at"].map((name) => `schedule.${name}`);
let waiting = 0;
let asked = 0;

async function preview(form) {
  const mine = ++asked;
  const fields = [...new FormData(form)].filter(([name]) => TIMING.includes(name));
  const answer = await fetch(`${form.dataset.preview}?${new URLSearchParams(fields)}`).catch(() => null);
  const text = answer?.ok && !answer.redirected ? await answer.text() : null;
  if (text === null || mine !== asked) return; // an answer to what was typed before
  document.getElementById("preview").innerHTML = text;
}

document.addEventListener("input", (event) => {
  const form = event.target.form;
  if (!form?.dataset.preview || !event.target.closest(".timing")) return;
  clearTimeout(waiting);
  waiting = setTimeout(preview, WAIT_MS, form);
});
