// The search completes keys and values, and the ways to narrow it down are fetched. Without it the search is typed.

const input = document.querySelector("[data-complete]");
const values = JSON.parse(input.dataset.complete);
const list = document.createElement("ul");
Object.assign(list, { id: "completions", role: "listbox", hidden: true });
list.setAttribute("aria-label", input.getAttribute("aria-label"));
for (const [name, value] of Object.entries({ role: "combobox", "aria-controls": list.id, "aria-expanded": "false", "aria-autocomplete": "list" }))
  input.setAttribute(name, value);
input.after(list);

// The word at the cursor: `key`, or `key:value`.
function word() {
  return input.value.slice(0, input.selectionStart).match(/\S*$/)[0];
}

function offers(typed) {
  const [key, value] = typed.split(":", 2);
  const found = value === undefined ? Object.keys(values).map((each) => `${each}:`) : (Object.hasOwn(values, key) ? values[key] : []).map((each) => `${key}:${each}`);
  const part = (value ?? key).toLowerCase();
  const isOffered = (each) => (value === undefined ? each.startsWith(part) : each.slice(key.length + 1).toLowerCase().includes(part));
  return found.filter((each) => each !== typed && isOffered(each)).slice(0, 12);
}

function show(found) {
  list.replaceChildren(...found.map((text, at) => Object.assign(document.createElement("li"), { role: "option", id: `completion-${at}`, textContent: text })));
  list.hidden = !found.length;
  input.setAttribute("aria-expanded", String(!list.hidden));
  choose(null);
}

function choose(option) {
  for (const each of list.children) each.setAttribute("aria-selected", String(each === option));
  if (option) input.setAttribute("aria-activedescendant", option.id);
  else input.removeAttribute("aria-activedescendant");
}

function take(text) {
  const at = input.selectionStart - word().length;
  input.setRangeText(text.endsWith(":") ? text : `${text} `, at, input.selectionStart, "end");
  show(text.endsWith(":") ? offers(text) : []);
}

input.addEventListener("input", () => show(offers(word())));
input.addEventListener("focus", () => show(offers(word())));
input.addEventListener("focus", () => facets.dataset.facets && fetchFacets(), { once: true });
input.addEventListener("blur", () => show([]));
list.addEventListener("pointerdown", (event) => {
  event.preventDefault(); // the focus stays
  const option = event.target.closest("[role=option]");
  if (option) take(option.textContent);
});
input.addEventListener("keydown", (event) => {
  const options = [...list.children];
  const at = options.findIndex((each) => each.getAttribute("aria-selected") === "true");
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!options.length) return;
  if (step) choose(options[(at + step + options.length) % options.length] ?? null);
  else if ((event.key === "Enter" || event.key === "Tab") && at >= 0) take(options[at].textContent);
  else if (event.key === "Escape") show([]);
  else return;
  event.preventDefault();
});

const facets = document.querySelector("[data-facets]");

async function fetchFacets() {
  const answer = await fetch(facets.dataset.facets);
  if (!answer.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  facets.querySelector(".card").replaceChildren(...fresh.body.firstElementChild.children);
  facets.removeAttribute("data-facets");
  learn();
}

// What the filters name can be completed, too.
function learn() {
  for (const facet of facets.querySelectorAll("[data-facet]")) {
    const known = values[facet.dataset.facet];
    for (const link of facet.querySelectorAll("a")) if (!/\s|"/.test(link.title) && !known.includes(link.title)) known.push(link.title);
  }
}

facets.addEventListener("toggle", () => facets.open && facets.dataset.facets && !facets.querySelector("h2") && fetchFacets());
learn();
if (matchMedia("(min-width: 1500px)").matches) facets.open = true;
