// Before gradio starts: the language in which it and the page speak, the colours, and which panels are open.
window.page = (() => {
  const store = (name, value) => { try { localStorage.setItem(name, value); } catch { /* private browsing */ } };
  const stored = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const browsers = navigator.language || "en";
  const language = stored("language") || (browsers.toLowerCase().startsWith("zh") ? "zh" : "en");
  // Gradio's own words follow the browser's language; here they follow the page's.
  const locale = language === "zh" ? "zh-CN" : "en";
  for (const [name, value] of [["language", locale], ["languages", [locale]]])
    Object.defineProperty(Navigator.prototype, name, { get: () => value, configurable: true });
  document.documentElement.lang = language;

  const theme = () => stored("theme") || "system";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const paint = () => document.body.classList.toggle("dark", theme() === "dark" || (theme() === "system" && dark.matches));
  dark.addEventListener("change", paint);
  document.addEventListener("DOMContentLoaded", () => { // gradio sets the class too, by the system's choice alone
    new MutationObserver(paint).observe(document.body, { attributes: true, attributeFilter: ["class"] });
    paint();
    page.side(innerWidth > 1000);
  });

  // Of the panels at the right one at most is open, and what is closed is out of the way of the keyboard.
  let opener = null;
  const show = (panel) => {
    if (panel) opener = document.activeElement;
    document.body.dataset.panel = panel;
    if (panel) setTimeout(() => document.querySelector(`#${panel} button`)?.focus(), 60);
    else opener?.isConnected && opener.focus();
  };
  document.addEventListener("keydown", ({ key }) => {
    if (key !== "Escape" || document.querySelector("dialog[open]")) return;
    if (document.body.dataset.panel) show("");
    else if (innerWidth <= 1000) page.side(false);
  });
  // On narrow windows what is open lies above the conversation: a press beside it closes it.
  document.addEventListener("pointerdown", ({ target }) => {
    if (!target.closest) return;
    if (innerWidth <= 1000 && document.body.dataset.side === "open" && !target.closest("#side, [data-act=open-side]"))
      page.side(false);
  });
  // Names that gradio gives in English alone, in the page's language.
  const rename = (node, name) => { if (node.getAttribute("aria-label") !== name) node.setAttribute("aria-label", name); };
  const names = () => {
    const said = document.querySelector("#top [data-names]")?.dataset.names;
    for (const [selector, name] of Object.entries(JSON.parse(said || "{}")))
      document.querySelectorAll(selector).forEach((node) => rename(node, name));
    for (const input of document.querySelectorAll("[data-testid=number-input], [data-testid=range-input]")) {
      const label = input.closest(".block")?.querySelector("[data-testid=block-info]");
      if (label) rename(input, label.textContent.trim());
    }
    document.querySelectorAll("label > input[type=checkbox][title]").forEach((input) => input.removeAttribute("title"));
  };
  let due = 0; // gradio draws its components when they come into sight, and again when their texts change
  new MutationObserver(() => { clearTimeout(due); due = setTimeout(names, 50); })
    .observe(document.documentElement, { childList: true, subtree: true });
  return {
    show, theme, language: () => language,
    side(open) { document.body.dataset.side = open ? "open" : "closed"; },
    setTheme(value) { store("theme", value); paint(); },
    setLanguage(value) { store("language", value); location.reload(); },
  };
})();
