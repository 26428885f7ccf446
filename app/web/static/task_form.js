// The form of a new task: rows are added and removed without leaving the page, and times may be local ones.

const html = document.documentElement;
const isLocal = html.dataset.times === "local";
const moments = "input[type=datetime-local]";

// The server takes and gives UTC. What the browser brings back by itself is shown as it was left.
function showLocal() {
  if (!isLocal) return;
  for (const zone of document.querySelectorAll("[data-zone]")) zone.textContent = zone.dataset.zone;
  for (const input of document.querySelectorAll(moments)) {
    const at = new Date(`${input.defaultValue}Z`);
    if (isNaN(at) || at - new Date(`${input.value}Z`) !== 0) continue;
    input.step = "any"; // fractions of a second
    input.dataset.utc = input.value;
    input.value = new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, input.value.length);
    input.dataset.local = input.value;
  }
}

document.addEventListener("formdata", (event) => {
  if (!isLocal || event.target.id !== "task-form") return;
  for (const input of event.target.querySelectorAll(moments)) {
    const at = new Date(input.value);
    // A local time may be there twice: what is as it was shown stays what it was.
    const isShown = input.dataset.utc && input.value === input.dataset.local;
    if (isShown) event.formData.set(input.name, input.dataset.utc);
    else if (!isNaN(at)) event.formData.set(input.name, at.toISOString().slice(0, -1));
  }
});

// The same request as without JavaScript; only the form of its answer is shown.
document.addEventListener("submit", async (event) => {
  const button = event.submitter;
  if (button?.name !== "edit") return;
  event.preventDefault();
  const form = event.target;
  if (form.inert) return;
  const body = new URLSearchParams(new FormData(form, button));
  form.inert = true; // what is typed meanwhile would be lost
  const answer = await fetch(form.action, { method: "POST", body }).catch(() => null);
  const text = answer?.ok && !answer.redirected ? await answer.text() : "";
  const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("task-form");
  if (!fresh) return send(form, body);
  const before = form.querySelectorAll("details");
  for (const [at, each] of fresh.querySelectorAll("details").entries()) each.open = before[at]?.open ?? each.open;
  for (const choose of fresh.querySelectorAll("[name=choose]")) choose.hidden = true;
  form.replaceWith(fresh);
  showLocal();
  fresh.querySelector("[autofocus]")?.focus();
});

// As without JavaScript: the browser shows what the server says, or that it does not answer.
function send(form, body) {
  for (const [name, value] of body) if (name === "edit") {
    form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
  }
  form.submit();
}

showLocal();
