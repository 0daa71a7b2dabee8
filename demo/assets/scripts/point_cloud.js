// <point-cloud src label>: points, int8 x, y, z each, that turn for a moment when they come into sight; dragged, or with
// arrow keys, they turn as one likes.
customElements.define("point-cloud", class extends HTMLElement {
  connectedCallback() {
    if (this.shadowRoot) return;
    const root = this.attachShadow({ mode: "open" });
    root.innerHTML = `<style>:host { display: block; } canvas { display: block; width: 100%; aspect-ratio: 1; cursor: grab; touch-action: pan-y; border-radius: inherit; }
      canvas:focus-visible { outline: 3px solid var(--focus); outline-offset: -3px; }</style><canvas width="512" height="512" role="img" tabindex="0"></canvas>`;
    const canvas = this.canvas = root.querySelector("canvas");
    canvas.setAttribute("aria-label", this.getAttribute("label"));
    this.turn = 0.6;
    this.tilt = -0.35;
    let held = null;
    canvas.addEventListener("pointerdown", (event) => { held = event; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      if (!held) return;
      this.turn += (event.clientX - held.clientX) / 90;
      this.tilt += (event.clientY - held.clientY) / 90;
      held = event;
      this.draw();
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { held = null; });
    canvas.addEventListener("keydown", (event) => {
      const [turn, tilt] = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] }[event.key] ?? [0, 0];
      if (!turn && !tilt) return;
      event.preventDefault();
      [this.turn, this.tilt] = [this.turn + turn, this.tilt + tilt];
      this.draw();
    });
    fetch(this.getAttribute("src")).then((answer) => answer.arrayBuffer()).then((bytes) => {
      this.points = new Int8Array(bytes);
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      let until = 0, turning = false;
      const step = () => {
        turning = this.isConnected && performance.now() < until;
        if (!turning) return;
        if (!held) { this.turn += 0.04; this.draw(); }
        setTimeout(() => requestAnimationFrame(step), 40);
      };
      const begin = () => { until = performance.now() + 4900; if (!turning && !still) step(); };
      this.draw();
      new IntersectionObserver(([seen]) => { if (seen.isIntersecting) begin(); }).observe(canvas);
      canvas.addEventListener("pointerenter", begin);
    });
  }
  draw() {
    const { canvas, points } = this, pen = canvas.getContext("2d");
    const [a, b, c, d] = [Math.cos(this.turn), Math.sin(this.turn), Math.cos(this.tilt), Math.sin(this.tilt)];
    pen.clearRect(0, 0, 512, 512);
    pen.fillStyle = getComputedStyle(this).getPropertyValue("--pine");
    for (let at = 0; at < points.length; at += 3) {
      const [x, y, z] = [points[at], points[at + 1], points[at + 2]];
      const across = a * x + b * y, deep = a * y - b * x, up = c * z + d * deep, near = (c * deep - d * z) / 127;
      pen.globalAlpha = 0.55 - 0.4 * near;
      pen.fillRect(256 + 1.85 * across, 256 - 1.85 * up, 4 - 1.5 * near, 4 - 1.5 * near);
    }
  }
});
