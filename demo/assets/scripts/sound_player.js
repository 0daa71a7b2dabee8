// <sound-player src label play pause position>: a waveform with one button; a click on it, or an arrow key, seeks.
customElements.define("sound-player", class extends HTMLElement {
  static observedAttributes = ["src"];
  connectedCallback() {
    if (this.shadowRoot) return;
    const root = this.attachShadow({ mode: "open" });
    root.innerHTML = `<style>
      :host { display: flex; align-items: center; gap: 12px; padding: 10px 14px 10px 10px; color: var(--ink); }
      button { flex: none; width: 44px; height: 44px; border: none; border-radius: 50%; background: var(--pine-fill); color: #fff; cursor: pointer; padding: 10px; }
      button:focus-visible, .wave:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
      svg { display: block; width: 100%; height: 100%; } button svg { fill: currentColor; }
      .wave { flex: 1; height: 44px; min-width: 60px; cursor: pointer; border-radius: 6px; }
      path { stroke: var(--wave); stroke-width: 2.5; stroke-linecap: round; } path.played { stroke: var(--pine); }
      time { font-size: .82rem; font-variant-numeric: tabular-nums; color: var(--ink-soft); min-width: 2.4em; text-align: right; }
    </style><button type="button"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M8 5v14l11-7z" style="stroke:none"/></svg></button>
    <div class="wave" role="slider" tabindex="0" aria-valuemin="0"><svg viewBox="0 0 240 44" preserveAspectRatio="none" aria-hidden="true"><path/><path class="played"/></svg></div><time></time>`;
    this.sound = new Audio();
    this.sound.preload = "metadata";
    const [button, wave] = [root.querySelector("button"), root.querySelector(".wave")];
    wave.setAttribute("aria-label", this.getAttribute("position"));
    button.addEventListener("click", () => this.sound.paused ? this.sound.play() : this.sound.pause());
    wave.addEventListener("click", (event) => {
      const box = wave.getBoundingClientRect();
      this.seek((event.clientX - box.left) / box.width * this.sound.duration);
    });
    wave.addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 0.5, ArrowLeft: -0.5 }[key];
      if (step) this.seek(this.sound.currentTime + step);
    });
    for (const name of ["play", "pause", "ended", "timeupdate", "loadedmetadata", "seeked"])
      this.sound.addEventListener(name, () => this.show());
    this.load();
  }
  attributeChangedCallback() { if (this.shadowRoot) this.load(); }
  disconnectedCallback() { this.sound?.pause(); }
  seek(seconds) { if (this.sound.duration) this.sound.currentTime = Math.max(0, Math.min(this.sound.duration, seconds)); }
  async load() {
    const source = this.getAttribute("src");
    this.sound.src = source;
    this.bars = [];
    this.show();
    try {
      const context = new OfflineAudioContext(1, 1, 16000);
      const sound = await context.decodeAudioData(await (await fetch(source)).arrayBuffer());
      const samples = sound.getChannelData(0), each = Math.max(1, Math.floor(samples.length / 60));
      const peaks = Array.from({ length: 60 }, (_, bar) => samples.subarray(bar * each, (bar + 1) * each).reduce((top, value) => Math.max(top, Math.abs(value)), 0));
      const loudest = Math.max(...peaks, 1e-3);
      this.bars = peaks.map((peak) => 1 + 19 * peak / loudest);
    } catch { this.bars = Array(60).fill(2); } // a format that this browser cannot read ahead
    this.show();
  }
  show() {
    const { currentTime, duration, paused } = this.sound, root = this.shadowRoot;
    const played = duration ? currentTime / duration : 0, line = (bar, index) => `M${4 * index + 2} ${22 - bar}V${22 + bar}`;
    const [all, done] = root.querySelectorAll(".wave path");
    all.setAttribute("d", this.bars.map(line).join(""));
    done.setAttribute("d", this.bars.filter((_, index) => index < played * 60).map(line).join(""));
    const button = root.querySelector("button"), name = this.getAttribute(paused ? "play" : "pause");
    button.setAttribute("aria-label", `${name}: ${this.getAttribute("label")}`);
    button.querySelector("path").setAttribute("d", paused ? "M8 5v14l11-7z" : "M7 5h4v14H7zM13 5h4v14h-4z");
    const seconds = paused && !currentTime ? duration || 0 : currentTime;
    root.querySelector("time").textContent = `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
    const wave = root.querySelector(".wave");
    wave.setAttribute("aria-valuemax", (duration || 0).toFixed(1));
    wave.setAttribute("aria-valuenow", currentTime.toFixed(1));
  }
});
