// Bubbles hold text whose "<", ">" and "&" are escaped, so that it is shown as it was typed; gradio hands it on like
// that when a bubble is copied or edited, where it has to be the text again.
{
  const plain = (text) => new DOMParser().parseFromString(text.replaceAll("\n", "&#10;"), "text/html").body.textContent;
  const write = navigator.clipboard?.writeText.bind(navigator.clipboard);
  if (write) navigator.clipboard.writeText = (text) => write(plain(text));
  document.addEventListener("focusin", ({ target }) => {
    if (!target.matches?.(".edit-textarea") || target.dataset.plain) return;
    target.dataset.plain = "yes";
    target.value = plain(target.value);
    target.dispatchEvent(new Event("input", { bubbles: true }));
  });
}
