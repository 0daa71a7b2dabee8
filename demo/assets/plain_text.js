// Bubbles hold text whose "<", ">" and "&" are escaped, so that it is shown as it was typed; gradio hands it on like
// that when a bubble is copied or edited, where it has to be the text again.
{
  const signs = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
  const escaped = (text) => text.replace(/[&<>]/g, (sign) => signs[sign]);
  const plain = (text) => Object.entries(signs).reduceRight((left, [sign, entity]) => left.replaceAll(entity, sign), text);
  const write = navigator.clipboard?.writeText.bind(navigator.clipboard);
  if (write) navigator.clipboard.writeText = (text) => write(plain(text));
  for (const [event, change] of [["focusin", plain], ["focusout", escaped]]) {
    document.addEventListener(event, ({ target }) => {
      if (!target.matches?.(".edit-textarea") || target.dataset.last === event) return;
      target.dataset.last = event;
      target.value = change(target.value);
      target.dispatchEvent(new Event("input", { bubbles: true }));
    });
  }
}
