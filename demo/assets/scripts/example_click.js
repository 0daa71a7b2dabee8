// A click on anything that names an example sends its number.
element.addEventListener("click", (event) => {
  const chosen = event.target.closest("[data-example]");
  if (chosen) trigger("click", { index: Number(chosen.dataset.example) });
});
