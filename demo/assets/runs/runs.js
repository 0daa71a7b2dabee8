// Keeps a page of runs up to date, and reads values off its charts. Without it the page is as it was when it was opened.

// Colours and language that were chosen on the chat page hold here too, unless the address says otherwise.
const root = document.documentElement, asked = new URLSearchParams(location.search);
const stored = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
if (!root.dataset.theme && ["light", "dark"].includes(stored("theme"))) root.dataset.theme = stored("theme");
if (!asked.has("language") && ["en", "zh"].includes(stored("language")) && stored("language") !== root.lang) {
  asked.set("language", stored("language"));
  location.replace(`?${asked}`);
}
document.addEventListener("click", ({ target }) => {
  const language = target.closest?.("[data-language]")?.dataset.language;
  if (language) try { localStorage.setItem("language", language); } catch { /* private browsing */ }
});

// Parts that have changed are replaced; what is unfolded stays so, and a report that is open is not loaded again.
const refresh = async () => {
  if (document.hidden) return;
  let fresh;
  try {
    const answer = await fetch(location.href);
    if (!answer.ok) return;
    fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch { return; } // the demo has ended, or is being started again
  const open = [...document.querySelectorAll("details[open]")].map((each) => each.id);
  for (const id of open) fresh.getElementById(id)?.setAttribute("open", "");
  const names = (page) => [...page.querySelectorAll("main > [id]")].map((part) => part.id).join();
  if (names(document) !== names(fresh)) {
    document.querySelector("main").replaceWith(document.adoptNode(fresh.querySelector("main")));
    return;
  }
  for (const part of document.querySelectorAll("main > [id]")) {
    const now = fresh.getElementById(part.id);
    if (now.outerHTML !== part.dataset.was && !part.contains(document.activeElement)) {
      now.dataset.was = now.outerHTML;
      part.replaceWith(document.adoptNode(now));
    }
  }
};
document.addEventListener("DOMContentLoaded", () => {
  for (const part of document.querySelectorAll("main > [id]")) part.dataset.was = part.outerHTML;
  setInterval(refresh, Number(document.body.dataset.refresh) * 1000);
});

// The value of each line of a chart at the step under the pointer.
const nearest = (line, x) => line.getAttribute("points").split(" ").map((point) => point.split(",").map(Number))
  .reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
document.addEventListener("pointermove", ({ target, clientX }) => {
  const chart = target.closest?.(".chart svg");
  for (const other of document.querySelectorAll(".chart")) if (!chart || !other.contains(chart)) clear(other);
  if (!chart) return;
  const [steps, low, high, left, right, top, bottom] =
    ["steps", "low", "high", "left", "right", "top", "bottom"].map((name) => Number(chart.dataset[name]));
  const box = chart.getBoundingClientRect(), x = ((clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
  const lines = [...chart.querySelectorAll("polyline:not(.faint)")];
  if (!lines.length) return;
  const found = lines.map((line) => nearest(line, x)), at = found[0][0];
  const step = Math.round(((at - left) / (right - left)) * steps);
  const values = found.map(([, y]) => Number((high - ((y - top) / (bottom - top)) * (high - low)).toPrecision(4)));
  chart.querySelector(".pointer").style.visibility = "visible";
  const pointer = chart.querySelector(".pointer line");
  pointer.setAttribute("x1", at);
  pointer.setAttribute("x2", at);
  chart.parentElement.querySelector("output").textContent = `${step.toLocaleString("en")}   ${values.join("   ")}`;
});
const clear = (chart) => {
  chart.querySelector("output").textContent = "";
  chart.querySelector(".pointer").style.visibility = "";
};
