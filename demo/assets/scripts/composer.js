// The field. A draft, text and uploaded files, belongs to a conversation and outlives a reload of the page.
const part = (name) => element.querySelector(`[data-part=${name}]`);
const button = (name) => element.querySelector(`[data-act=${name}]`);
const MOST_FILES = 16;
let state = {}, files = [], editing = null, conversation = null, recorder = null, camera = null;
let left = null, waiting = false; // the conversation that is being left; whether a message waits for the next one

const kind = (name, type) => {
  const of = (type || "").split("/")[0];
  if (["image", "video", "audio"].includes(of)) return of;
  if (/\.(png|jpe?g|gif|webp|bmp|tiff?|heic|avif)$/i.test(name)) return "image";
  if (/\.(mp4|mov|webm|mkv|avi)$/i.test(name)) return "video";
  if (/\.(wav|flac|ogg|mp3|m4a|aiff?)$/i.test(name)) return "audio";
  return "points";
};
const key = () => `draft ${conversation}`;
const keep = () => {
  const draft = { text: part("text").value, files: files.filter((each) => each.path), editing };
  if (!conversation) return;
  if (draft.text || draft.files.length) sessionStorage.setItem(key(), JSON.stringify(draft));
  else sessionStorage.removeItem(key());
};
const fill = ({ text = "", files: named = [], editing: turn = null } = {}) => {
  part("text").value = text;
  files = named.map((each) => ({ ...each, kind: kind(each.name) }));
  editing = turn;
  refresh();
};
const say = (notice) => {
  part("notice").hidden = !notice;
  part("notice-title").textContent = notice?.title ?? "";
  part("notice-text").textContent = notice?.text ?? "";
};
const refused = (text) => say({ title: part("form").dataset.refused, text });

const chip = (file) => {
  const item = document.createElement("li");
  item.className = `${file.kind}${file.path ? "" : " uploading"}`;
  const image = file.kind === "image" && (file.preview || file.url) && !/\.(tiff?|heic)$/i.test(file.name);
  const face = document.createElement(image ? "img" : "span");
  if (image) Object.assign(face, { src: file.preview || file.url, alt: file.name, onerror: () => face.replaceWith(file.name) });
  else face.textContent = file.name;
  const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "×" });
  remove.setAttribute("aria-label", part("form").dataset.remove.replace("{name}", file.name));
  remove.addEventListener("click", () => { files = files.filter((each) => each !== file); refresh(); part("text").focus(); });
  item.append(face, remove);
  if (!file.path) item.setAttribute("aria-label", `${file.name}: ${part("form").dataset.uploading}`);
  return item;
};
const refresh = () => {
  const text = part("text");
  text.disabled = !state.ready;
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight}px`;
  part("files").replaceChildren(...files.map(chip));
  part("files").hidden = !files.length;
  part("editing").hidden = editing === null;
  for (const name of ["attach", "record", "camera"]) button(name).disabled = !state.ready;
  button("send").hidden = Boolean(state.running);
  button("stop").hidden = !state.running;
  button("send").disabled = !state.ready || files.some((each) => !each.path) || !(text.value.trim() || files.length);
  keep();
};

const add = async (chosen) => {
  for (const file of chosen) {
    if (files.length >= MOST_FILES) { refused(part("form").dataset.tooMany); return; }
    const entry = { name: file.name, kind: kind(file.name, file.type) };
    if (entry.kind === "image") entry.preview = URL.createObjectURL(file);
    files.push(entry);
    refresh();
    try {
      const { path, url } = await upload(file);
      Object.assign(entry, { path, url });
    } catch {
      files = files.filter((each) => each !== entry);
      refused(part("form").dataset.failed.replace("{name}", file.name));
    }
    refresh();
  }
};
const send = () => {
  if (left && !button("send").disabled) waiting = true;
  if (left || state.running || button("send").disabled) return;
  const message = { text: part("text").value, files: files.map((each) => each.path), editing };
  say(null);
  state = { ...state, running: true };
  fill();
  trigger("submit", message);
};

// Recording: what the microphone hears becomes a WAV file, which every model reads.
const wav = async (blob) => {
  const context = new AudioContext(), sound = await context.decodeAudioData(await blob.arrayBuffer());
  const samples = sound.getChannelData(0), view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const word = (at, text) => [...text].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  word(0, "RIFF"); view.setUint32(4, 36 + 2 * samples.length, true); word(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, sound.sampleRate, true); view.setUint32(28, 2 * sound.sampleRate, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true); word(36, "data"); view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, index) => view.setInt16(44 + 2 * index, Math.max(-1, Math.min(1, value)) * 32767, true));
  context.close();
  return new File([view], "recording.wav", { type: "audio/wav" });
};
const meter = (stream) => {
  const context = new AudioContext(), ears = context.createAnalyser(), heard = new Uint8Array(ears.fftSize);
  context.createMediaStreamSource(stream).connect(ears);
  const canvas = part("level"), pen = canvas.getContext("2d"), levels = [], begun = performance.now();
  const draw = () => {
    if (!recorder) { context.close(); return; }
    ears.getByteTimeDomainData(heard);
    levels.push(Math.max(...heard.map((value) => Math.abs(value - 128))) / 128);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = getComputedStyle(canvas).color;
    levels.slice(-canvas.width / 4).forEach((level, index) => {
      const height = Math.max(2, level * canvas.height);
      pen.fillRect(4 * index, (canvas.height - height) / 2, 2, height);
    });
    const seconds = Math.floor((performance.now() - begun) / 1000);
    part("time").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    setTimeout(draw, 60);
  };
  draw();
};
const record = async () => {
  let stream;
  try { stream = await navigator.mediaDevices.getUserMedia({ audio: true }); }
  catch { refused(part("form").dataset.denied); return; }
  const chunks = [];
  recorder = new MediaRecorder(stream);
  recorder.addEventListener("dataavailable", ({ data }) => chunks.push(data));
  recorder.addEventListener("stop", async ({ target }) => {
    stream.getTracks().forEach((track) => track.stop());
    if (target.kept) await add([await wav(new Blob(chunks))]);
  });
  recorder.start();
  part("recording").hidden = false;
  button("keep").focus();
  meter(stream);
};
const stopRecording = (kept) => {
  if (!recorder) return;
  recorder.kept = kept;
  recorder.stop();
  recorder = null;
  part("recording").hidden = true;
  part("text").focus();
};

const openCamera = async () => {
  try { camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } }); }
  catch { refused(part("form").dataset.denied); return; }
  part("view").srcObject = camera;
  part("camera").showModal();
};
const closeCamera = () => {
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  if (part("camera").open) part("camera").close();
};
const shoot = () => {
  const view = part("view"), canvas = document.createElement("canvas");
  if (!view.videoWidth) return;
  [canvas.width, canvas.height] = [view.videoWidth, view.videoHeight];
  canvas.getContext("2d").drawImage(view, 0, 0);
  canvas.toBlob((blob) => { add([new File([blob], "photo.png", { type: "image/png" })]); closeCamera(); part("text").focus(); });
};

const acts = {
  attach: () => part("picker").click(), record, camera: openCamera, send, shoot, "close-camera": closeCamera,
  stop: () => trigger("stop", {}), keep: () => stopRecording(true), discard: () => stopRecording(false),
  dismiss: () => { say(null); part("text").focus(); }, "stop-editing": () => { fill(); part("text").focus(); },
};
element.addEventListener("click", (event) => acts[event.target.closest("[data-act]")?.dataset.act]?.());
element.addEventListener("submit", (event) => event.preventDefault());
element.addEventListener("input", ({ target }) => { if (target === part("text")) refresh(); });
element.addEventListener("change", ({ target }) => { if (target === part("picker")) { add([...target.files]); target.value = ""; } });
element.addEventListener("keydown", (event) => {
  if (event.target !== part("text")) return;
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
  if (event.key === "Escape" && editing !== null) { fill(); event.stopPropagation(); }
});
element.addEventListener("cancel", closeCamera, true);
document.addEventListener("paste", ({ clipboardData, target }) => {
  const field = target === part("text") || !target.matches?.("input, textarea");
  if (state.ready && field && clipboardData.files.length) add([...clipboardData.files]);
});
let depth = 0; // of elements that a file is dragged over
const dragged = (event) => event.dataTransfer?.types.includes("Files") && element.offsetParent;
document.addEventListener("dragenter", (event) => { if (dragged(event)) { depth++; part("form").classList.add("over"); } });
document.addEventListener("dragleave", (event) => { if (dragged(event) && --depth <= 0) part("form").classList.remove("over"); });
document.addEventListener("dragover", (event) => { if (dragged(event)) event.preventDefault(); });
document.addEventListener("drop", (event) => {
  depth = 0;
  part("form").classList.remove("over");
  if (!dragged(event)) return;
  event.preventDefault();
  if (state.ready) add([...event.dataTransfer.files]);
});

// Another conversation is on its way: the field is empty at once, and what is typed meanwhile belongs to that one.
addEventListener("leave-conversation", () => {
  if (!conversation) return;
  const old = conversation;
  [left, conversation] = [old, null];
  state = { ...state, running: false };
  fill();
  setTimeout(() => { // none has come: it stays, with what was typed
    if (left !== old) return;
    [conversation, left, waiting] = [old, null, false];
    refresh();
  }, 20000);
});
watch("value", () => {
  const first = !state.ready;
  if (left && props.value.state.conversation === left) return;
  state = props.value.state;
  if (state.conversation && state.conversation !== conversation) {
    const typed = left && (part("text").value || files.length);
    [conversation, left] = [state.conversation, null];
    say(null);
    fill(typed ? { text: part("text").value, files, editing } : JSON.parse(sessionStorage.getItem(key()) || "{}"));
  }
  if (state.notice) say(state.notice);
  if (state.restore) fill(state.restore);
  refresh();
  if (first && state.ready || state.restore) part("text").focus();
  if (waiting && !left) { waiting = false; send(); }
});
