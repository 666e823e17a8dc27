// Calls to the service. All paths are relative to the page, so that it works below any prefix.

import { explain } from "./words.js";

const KEY = "cvivit-key";

const TEMPORARY = new Set([0, 408, 429, 502, 503, 504]);

/** A failed request. `status` is 0 where there was no whole answer. */
export class Problem extends Error {
  constructor(status, { title, detail, code, limit } = {}, waitSeconds = 0) {
    super(explain({ code, title, detail, status, limit }, waitSeconds));
    this.status = status;
    this.code = code ?? "";
  }

  /** Whether the same request may succeed a little later. */
  get temporary() {
    return TEMPORARY.has(this.status);
  }
}

/** Keep the key until the tab is closed. */
export function useKey(key) {
  sessionStorage.setItem(KEY, key);
}

/** Return whether a key is in use. */
export function hasKey() {
  return Boolean(sessionStorage.getItem(KEY));
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

/**
 * Send one request. XMLHttpRequest is used and not fetch, because fetch does not report the progress of an upload.
 *
 * onUpload(share) is called while the body is sent, onText(text) with all text so far while the answer arrives.
 */
export function call(method, path, { body = null, type = "", accept = "", response = "text", onUpload, onText, signal } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, path);
    request.responseType = response;
    if (type) request.setRequestHeader("content-type", type);
    if (accept) request.setRequestHeader("accept", accept);
    const key = sessionStorage.getItem(KEY);
    if (key) request.setRequestHeader("authorization", `Bearer ${key}`);
    if (onUpload) {
      request.upload.onprogress = (event) => event.lengthComputable && onUpload(event.loaded / event.total);
      request.upload.onload = () => onUpload(1);
    }
    if (onText) request.onprogress = () => request.status === 200 && onText(request.responseText);
    request.onload = async () => {
      if (request.status >= 200 && request.status < 300) {
        resolve(request);
        return;
      }
      const text = response === "blob" ? await request.response.text() : request.responseText;
      reject(new Problem(request.status, parse(text), Number(request.getResponseHeader("retry-after")) || 0));
    };
    request.onerror = () =>
      reject(new Problem(0, { title: "The server cannot be reached", detail: "it does not run, or the network broke off" }));
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(body);
  });
}

/** Return what the server says of its model and limits. */
export async function info() {
  return JSON.parse((await call("GET", "info")).responseText);
}

function query(fit) {
  return fit === "crop" ? "" : `?fit=${fit}`;
}

/**
 * Encode a video. Returns {model, shape, frames, fps, indices} with indices as one array of T*H*W numbers per clip.
 *
 * onClip(count) is called as clips become ready.
 */
export async function encode(file, { fit, onUpload, onClip, signal }) {
  const request = await call("POST", `encode${query(fit)}`, {
    body: file,
    type: file.type || "application/octet-stream",
    accept: "application/x-ndjson",
    onUpload,
    onText: (text) => onClip(text.split("\n").length - 1),
    signal,
  });
  const lines = request.responseText.trim().split("\n").map(parse);
  const last = lines.pop();
  if (last.status) throw new Problem(last.status, last);
  if (!last.shape) throw new Problem(0, { title: "The server's answer broke off" });
  return { ...last, indices: lines.map((line) => Uint32Array.from(line.indices.flat(2))) };
}

/** Return {video, psnr, ssim}: one MP4 with the original on the left and the reconstruction on the right. */
export async function reconstruct(file, { fit, signal }) {
  const request = await call("POST", `reconstruct${query(fit)}`, {
    body: file,
    type: file.type || "application/octet-stream",
    accept: "video/mp4",
    response: "blob",
    signal,
  });
  return {
    video: request.response,
    psnr: request.getResponseHeader("x-psnr"),
    ssim: request.getResponseHeader("x-ssim"),
  };
}

/** Return the JSON form of tokens, as the service takes it. */
export function toJSON({ model, shape, frames, fps, indices }) {
  const [, T, H, W] = shape;
  const nested = indices.map((clip) =>
    Array.from({ length: T }, (_, t) =>
      Array.from({ length: H }, (_, h) => Array.from(clip.subarray((t * H + h) * W, (t * H + h + 1) * W))),
    ),
  );
  return JSON.stringify({ model, shape, frames, fps, indices: nested });
}

/** Return the MP4 of tokens. */
export async function decode(tokens) {
  const request = await call("POST", "decode", {
    body: toJSON(tokens),
    type: "application/json",
    accept: "video/mp4",
    response: "blob",
  });
  return request.response;
}
