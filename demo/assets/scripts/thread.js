// The conversation: what its buttons do, and that its end stays in sight while a reply grows.
const turn = (node) => Number(node.closest("[data-turn]")?.dataset.turn);
const reply = (node) => node.closest(".reply, .said");
const largeImage = (image) => {
  const box = document.createElement("dialog");
  box.className = "enlarged";
  box.setAttribute("aria-label", image.alt);
  box.append(Object.assign(new Image(), { src: image.src, alt: image.alt, className: image.closest(".small") ? "small" : "" }));
  box.addEventListener("click", () => box.close());
  box.addEventListener("close", () => box.remove());
  box.addEventListener("keydown", ({ key }) => { if (key === "Enter" || key === " ") box.close(); });
  document.body.append(box);
  box.showModal();
};
const copy = async (button) => {
  await navigator.clipboard?.writeText(reply(button).querySelector(".text")?.textContent ?? "");
  const label = button.getAttribute("aria-label");
  button.setAttribute("aria-label", button.dataset.done);
  button.classList.add("done");
  setTimeout(() => { button.setAttribute("aria-label", label); button.classList.remove("done"); }, 1500);
};
const download = (button) => {
  for (const card of reply(button).querySelectorAll("[data-download]"))
    Object.assign(document.createElement("a"), { href: card.dataset.download, download: card.dataset.name }).click();
};
const act = (event) => {
  const example = event.target.closest("[data-example]");
  if (example) return trigger("example_select", { index: Number(example.dataset.example) });
  const button = event.target.closest("[data-act]");
  switch (button?.dataset.act) {
    case "enlarge": return largeImage(button.querySelector("img"));
    case "copy": return copy(button);
    case "download": return download(button);
    case "retry": return trigger("retry", {});
    case "edit": return trigger("edit", { turn: turn(button) });
    case "explain": page.show("explain"); return trigger("explain", { turn: turn(button) });
    case "cancel": button.disabled = true; return trigger("cancel", { index: Number(button.dataset.index) });
  }
};
element.addEventListener("click", act);

let atEnd = true, turns = 0;
const place = document.scrollingElement;
addEventListener("scroll", () => { atEnd = place.scrollHeight - place.scrollTop - innerHeight < 120; }, { passive: true });
const follow = () => { if (atEnd) place.scrollTop = place.scrollHeight; };
new ResizeObserver(follow).observe(element);
watch("value", () => {
  const now = element.querySelectorAll(".turn").length;
  document.body.toggleAttribute("data-empty", !now);
  if (now !== turns) atEnd = true;
  turns = now;
  follow();
});
document.body.toggleAttribute("data-empty", !element.querySelector(".turn"));
