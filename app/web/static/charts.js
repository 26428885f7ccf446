import { brief } from "./live.js";

// What a chart has at the time that is pointed at, told in its legend. Without it the table beside says the same.

const local = document.documentElement.dataset.times === "local";
const moment = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "short", timeZone: local ? undefined : "UTC" });

function tell(event) {
  const picture = event.target.closest?.("[data-chart] > svg");
  for (const line of document.querySelectorAll("[data-chart] .at")) if (line.parentNode !== picture) line.remove();
  if (!picture) return;
  const figure = picture.parentNode;
  const chart = JSON.parse(figure.dataset.chart);
  const names = JSON.parse(figure.dataset.names);
  const words = JSON.parse(figure.dataset.words);
  const box = picture.getBoundingClientRect();
  const length = Object.values(chart.of)[0].length;
  const at = Math.min(Math.max(Math.floor(((event.clientX - box.left) / box.width) * length), 0), length - 1);
  const values = Object.entries(chart.of).filter(([, of]) => of[at] !== null).map(([kind, of]) => {
    return `${names[kind]} ${chart.unit === "seconds" ? brief(of[at], words) : of[at]}`;
  });
  figure.querySelector("output").textContent = `${moment.format(new Date((chart.begin + at * chart.step) * 1000))} · ${values.join(" · ") || "–"}`;
  const x = ((at + 0.5) * 600) / length;
  const line = picture.querySelector(".at") ?? picture.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  line.setAttribute("class", "at");
  line.setAttribute("d", `M${x} 0V120`);
}

document.addEventListener("pointermove", tell);
document.addEventListener("pointerdown", tell);
