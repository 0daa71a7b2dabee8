// The list of conversations: search and renaming happen here, the rest is an event with the conversation's identity.
const find = (name) => element.querySelector(`[data-part=${name}]`);
const row = (node) => node.closest("li");
const filter = () => {
  const words = find("search").value.trim().toLowerCase();
  let shown = 0;
  for (const each of element.querySelectorAll("li")) {
    each.hidden = !each.querySelector(".go span").textContent.toLowerCase().includes(words);
    shown += !each.hidden;
  }
  find("none").hidden = shown > 0;
};
const closeMenus = (but) => { for (const menu of element.querySelectorAll("details[open]")) if (menu !== but) menu.open = false; };
const rename = (item, open) => {
  const form = item.querySelector("form");
  form.hidden = !open;
  item.querySelector(".go").hidden = open;
  if (open) { form.firstElementChild.focus(); form.firstElementChild.select(); }
  else item.querySelector(".go").focus();
};
watch("value", () => {
  filter();
  const current = element.querySelector("li.current");
  if (current) sessionStorage.setItem("conversation", current.dataset.id);
});
element.addEventListener("input", ({ target }) => { if (target === find("search")) filter(); });
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-act]");
  closeMenus(event.target.closest("details"));
  if (!button) return;
  const item = row(button), identity = item?.dataset.id;
  closeMenus();
  const current = item?.classList.contains("current"), holds = !("empty" in document.body.dataset);
  const leaves = { new: holds, go: !current, delete: current }[button.dataset.act];
  if (leaves) dispatchEvent(new Event("leave-conversation"));
  switch (button.dataset.act) {
    case "close-side": page.side(false); break;
    case "rename": rename(item, true); break;
    case "new": sessionStorage.removeItem("conversation"); trigger("new", {}); break;
    case "go": trigger("go", { identity }); break;
    case "export": trigger("export", { identity, kind: button.dataset.kind }); break;
    case "delete": trigger("remove", { identity }); break;
    case "undo": trigger("undo", {}); break;
  }
  if (["new", "go"].includes(button.dataset.act) && innerWidth <= 1000) page.side(false);
});
element.addEventListener("submit", (event) => {
  event.preventDefault();
  const item = row(event.target), name = event.target.firstElementChild.value;
  rename(item, false);
  trigger("rename", { identity: item.dataset.id, name });
});
element.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (event.target.closest("form")) { rename(row(event.target), false); event.stopPropagation(); }
  const menu = event.target.closest("details[open]");
  if (menu) { menu.open = false; menu.firstElementChild.focus(); event.stopPropagation(); }
});
document.addEventListener("pointerdown", ({ target }) => closeMenus(target.closest?.("details")));
