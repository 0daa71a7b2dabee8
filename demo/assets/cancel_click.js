// Cards of media stand inside bubbles, where gradio has no events: clicks on their buttons are caught for the page.
// A card is replaced at each step, so a click may never be completed: the press alone counts.
const cancel = (event) => {
  const button = event.target.closest(".cancel-medium");
  if (!button || button.disabled) return;
  button.disabled = true;
  trigger("click", { index: Number(/cancel-(\d+)/.exec(button.className)[1]) });
};
for (const kind of ["pointerdown", "click"]) document.addEventListener(kind, cancel);
