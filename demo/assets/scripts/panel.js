// Buttons that open and close the sides of the page.
element.addEventListener("click", ({ target }) => {
  const act = target.closest("[data-act]")?.dataset.act;
  if (act === "open-side") { page.side(true); document.querySelector("#side button")?.focus(); }
  if (act === "open-settings") page.show(document.body.dataset.panel === "settings" ? "" : "settings");
  if (act === "close-panel") page.show("");
});
