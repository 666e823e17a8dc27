// The page: from a chosen video to its tokens, its reconstruction, and what becomes of edited tokens.

import { call, decode, encode, hasKey, info, Problem, reconstruct, toJSON, useKey } from "./api.js";
import { Board } from "./board.js";
import { Players } from "./players.js";
import { Recorder } from "./recorder.js";
import { bytes } from "./words.js";

const $ = (id) => document.getElementById(id);
const recorder = new Recorder($("camera"));
const players = new Players($("original"), $("reconstruction"), { play: $("play"), time: $("time") });
// `chosen` is the file that was opened last and where it came from, `shown` the one whose tokens are on the page.
const state = { chosen: null, shown: null, fit: "crop", tokens: null, mp4: null, running: null, retry: null, info: null };

const board = new Board($("tokens"), {
  tool: () => document.querySelector('input[name="tool"]:checked').value,
  code: () => Math.max(0, Math.min(Number($("code").max), Math.round(Number($("code").value)) || 0)),
  through: () => $("through").checked,
  picked: (code) => {
    $("code").value = String(code);
    document.querySelector('input[name="tool"][value="paint"]').click();
  },
  described: (text) => ($("token-info").textContent = text),
  changed: () => {
    state.mp4 = null;
    $("undo").disabled = board.undoable.length === 0;
    $("clip").value = String(board.clip + 1);
    showClipNumber();
    say("The tokens have changed. Decode paints the video again.");
  },
});

function say(text) {
  $("status").textContent = text;
}

/** Show the progress bar: a share from 0 to 1, null for "working", undefined for nothing. */
function progress(share) {
  $("progress").hidden = share === undefined;
  if (share === null) $("progress").removeAttribute("value");
  else if (share !== undefined) $("progress").value = share;
}

function complain(error, retry) {
  if (error?.name === "AbortError") return;
  state.retry = retry ?? null;
  if (error instanceof Problem && error.status === 401) {
    $("key-form").hidden = false;
    $("alert").textContent = hasKey() ? "The server does not know this key." : "This server needs a key. Please enter yours.";
    $("key").focus();
  } else {
    $("alert").textContent = error.message;
    $("retry").hidden = !(error.temporary && retry);
  }
  say("");
}

/** Run one piece of work after another: a new video stops what runs. */
async function work(task) {
  state.running?.abort();
  const running = new AbortController();
  state.running = running;
  $("alert").textContent = "";
  $("retry").hidden = true;
  $("decode").disabled = true;
  try {
    await task(running.signal);
  } catch (error) {
    if (state.running === running) complain(error, () => work(task));
  } finally {
    if (state.running === running) {
      progress(undefined);
      $("decode").disabled = false;
      state.running = null;
    }
  }
}

/** Open a video. `from` is "file", "sample" or "camera". */
function open(file, from) {
  state.chosen = { file, from };
  work(async (signal) => {
    await check(file);
    const fit = $("fit").value;
    say(`Uploading ${file.name}`);
    progress(0);
    const encoding = encode(file, {
      fit,
      signal,
      onUpload: (share) => {
        progress(share < 1 ? share : null);
        say(share < 1 ? `Uploading ${file.name}: ${Math.round(share * 100)}%` : "Encoding");
      },
      onClip: (count) => say(`Encoding: ${count} ${count === 1 ? "clip is" : "clips are"} ready`),
    });
    // Both requests run at once. The encoder's error is shown if both fail, since it is the same video.
    const comparing = reconstruct(file, { fit, signal });
    comparing.catch(() => {});
    const tokens = await encoding;
    say("Painting the video from its tokens");
    const { video, psnr, ssim } = await comparing;
    if (signal.aborted) return;
    state.tokens = tokens;
    state.mp4 = null;
    state.shown = { name: file.name, from };
    state.fit = fit;
    show(tokens, video, psnr, ssim);
    say(`Ready: ${counted(tokens.shape[0], "clip")}, ${counted(tokens.frames, "frame")} of ${file.name}`);
  });
}

/** Refuse what the browser cannot read: else the upload fails, and looks as if the server did. */
async function check(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Error(`${file.name} cannot be read. It is a folder, or it has changed or moved since you chose it.`);
  }
  if (!file.size) throw new Error(`${file.name} is empty.`);
}

function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function show(tokens, video, psnr, ssim) {
  const [clips, T, H, W] = tokens.shape;
  $("result").hidden = false;
  $("editor").hidden = false;
  players.show($("original"), video, "left");
  players.show($("reconstruction"), video, "right");
  players.begin();
  $("reconstruction-caption").textContent = "Painted from the tokens";
  $("psnr").textContent = `${psnr} dB`;
  $("ssim").textContent = ssim;
  const [height, width] = state.info?.image_size ?? [H * 8, W * 8];
  const bits = Math.ceil(Math.log2(state.info?.codebook_size ?? 8192));
  const raw = tokens.frames * height * width * 3;
  const coded = Math.ceil((clips * T * H * W * bits) / 8);
  $("pixels").textContent = bytes(raw);
  $("bytes").textContent = `${bytes(coded)} (${(clips * T * H * W).toLocaleString("en")} codes)`;
  $("ratio").textContent = `${Math.round(raw / coded)} to 1`;
  $("clip").max = String(clips);
  $("clip").value = "1";
  $("undo").disabled = true;
  $("curl-text").hidden = true;
  $("facts-hint").hidden = true;
  board.load(tokens);
  showClipNumber();
}

function showClipNumber() {
  $("clip-number").textContent = `${$("clip").value} of ${$("clip").max}`;
}

async function decodeTokens() {
  say("Decoding");
  progress(null);
  const mp4 = await decode(state.tokens);
  state.mp4 = mp4;
  return mp4;
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Return the name of the video without its suffix. */
function stem() {
  return state.shown.name.replace(/\.[^.]*$/, "") || "video";
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function curlCommand() {
  const query = state.fit === "crop" ? "" : `?fit=${state.fit}`;
  const key = hasKey() ? " -H \"authorization: Bearer $KEY\"" : "";
  const encodeAt = quoted(new URL(`encode${query}`, location.href).href);
  const decodeAt = quoted(new URL("decode", location.href).href);
  const { name, from } = state.shown;
  const before = {
    sample: [`curl ${quoted(new URL("web/sample.mp4", location.href).href)} -o ${quoted(name)}`],
    camera: [`# Your recording is in this page alone. Put a video of yours in the place of ${name}.`],
  };
  const source = quoted(name === "-" ? "./-" : name); // curl takes "-" for its standard input
  return [
    ...(before[from] ?? []),
    `curl${key} --data-binary @${source} -H 'content-type: application/octet-stream' ${encodeAt} -o tokens.json`,
    `curl${key} --data-binary @tokens.json -H 'content-type: application/json' ${decodeAt} -o reconstruction.mp4`,
  ].join("\n");
}

// Choosing a video
$("file").addEventListener("click", () => ($("file").value = "")); // so that the same file can be picked again
$("file").addEventListener("change", () => $("file").files[0] && open($("file").files[0], "file"));
$("fit").addEventListener("change", () => state.chosen && open(state.chosen.file, state.chosen.from));
for (const event of ["dragover", "dragenter"]) {
  document.addEventListener(event, (drag) => {
    drag.preventDefault();
    $("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (drag) => drag.relatedTarget ?? $("drop").classList.remove("over"));
document.addEventListener("drop", (drop) => {
  drop.preventDefault();
  $("drop").classList.remove("over");
  $("file").value = "";
  if (drop.dataTransfer.files[0]) open(drop.dataTransfer.files[0], "file");
  else complain(new Error("That is no file. Save the video first, and drop its file here."));
});
$("sample").addEventListener("click", async () => {
  try {
    const { response } = await call("GET", "web/sample.mp4", { response: "blob" });
    $("file").value = "";
    open(new File([response], "sample.mp4", { type: "video/mp4" }), "sample");
  } catch (error) {
    complain(error, () => $("sample").click());
  }
});
$("record").addEventListener("click", async () => {
  if (recorder.recording) {
    recorder.stop();
    return;
  }
  $("alert").textContent = "";
  try {
    const recorded = recorder.start();
    $("record").textContent = "Stop recording";
    $("record").setAttribute("aria-pressed", "true");
    say("Recording for up to ten seconds");
    const file = await recorded;
    $("file").value = "";
    open(file, "camera");
  } catch (error) {
    complain(error);
  } finally {
    $("record").textContent = "Record with the camera";
    $("record").setAttribute("aria-pressed", "false");
  }
});

$("retry").addEventListener("click", () => state.retry?.());

// Looking
$("compare").addEventListener("change", () => {
  const over = $("compare").checked;
  $("stage").classList.toggle("over", over);
  $("split-field").hidden = !over;
});
for (const tool of document.querySelectorAll('input[name="tool"]')) {
  // A finger on the tokens scrolls the page, unless the tool draws.
  tool.addEventListener("change", () => $("tokens").classList.toggle("drawing", ["paint", "copy"].includes(tool.value)));
}
$("split").addEventListener("input", () => $("stage").style.setProperty("--split", `${$("split").value}%`));
$("clip").addEventListener("input", () => {
  board.select(Number($("clip").value) - 1);
  showClipNumber();
  const { clip_frames: frames = 11, fps = 8 } = state.info ?? {};
  players.pause();
  players.seek(((Number($("clip").value) - 1) * frames) / fps + 0.001);
});

// Editing and taking away
$("code").addEventListener("change", () => ($("code").value = String(board.handlers.code())));
$("undo").addEventListener("click", () => board.undo());
$("decode").addEventListener("click", () =>
  work(async () => {
    const mp4 = await decodeTokens();
    players.show($("reconstruction"), mp4, "");
    players.begin();
    $("reconstruction-caption").textContent = "Painted from the tokens as they are now";
    $("facts-hint").hidden = board.undoable.length === 0;
    say("Decoded");
  }),
);
$("download-tokens").addEventListener("click", () =>
  save(new Blob([toJSON(state.tokens)], { type: "application/json" }), `${stem()}.tokens.json`),
);
$("download-video").addEventListener("click", () =>
  work(async () => {
    save(state.mp4 ?? (await decodeTokens()), `${stem()}.reconstruction.mp4`);
    say("The video is saved");
  }),
);
$("curl").addEventListener("click", async () => {
  $("curl-text").textContent = curlCommand();
  $("curl-text").hidden = false;
  try {
    await navigator.clipboard.writeText(curlCommand());
    say("The commands are on the clipboard");
  } catch {
    say("The commands stand below");
  }
});

// The key, and what the server says of itself
async function describe() {
  try {
    state.info = await info();
  } catch (error) {
    if (error.status === 401) complain(error, describe);
    return;
  }
  const { grid, codebook_size: codes, clip_frames: frames, fps, image_size: size } = state.info;
  $("per-clip").textContent = `${grid.reduce((a, b) => a * b).toLocaleString("en")} integers`;
  $("clip-seconds").textContent = `${(frames / fps).toFixed(1)} seconds`;
  $("code").max = String(codes - 1);
  $("codes").textContent = codes.toLocaleString("en");
  document.documentElement.style.setProperty("--shape", `${size[1]} / ${size[0]}`);
}
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey($("key").value.trim());
  $("key-form").hidden = true;
  $("alert").textContent = "";
  const retry = state.retry;
  state.retry = null;
  describe();
  if (retry && retry !== describe) retry();
});
describe();
