// Videos last two seconds and are silent: they play in a loop.
document.addEventListener("loadedmetadata", ({ target }) => {
  if (target.tagName === "VIDEO") { target.loop = target.muted = true; target.play(); }
}, true);
