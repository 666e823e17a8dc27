// What went wrong, in words for somebody who has never read the API's documentation.

const BUSY = "The server is busy.";
const STOPPING = "The server is starting or stopping.";
const BROKEN = "The server could not compute this. It is not your video's fault.";
const TOKENS = "The server does not take these tokens.";
const PAGE = "This page and the server do not fit together. Reload the page.";

/** A sentence for each `code` of a problem. The server's own detail follows it. */
export const WORDS = {
  // The video
  unsupported_media: "This file is no video of a kind that the server reads.",
  corrupt_video: "This video is damaged, or a part of it is missing.",
  decoder_crashed: "This video could not be read: it stopped the program that reads videos.",
  empty_video: "This video has no pictures.",
  empty_body: "This file is empty.",
  invalid_video: "This video cannot be read.",
  no_video_stream: "This file has no video in it, only sound or a cover picture.",
  resolution_changed: "The pictures of this video change their size, which the model cannot take.",
  body_too_large: "This file is larger than the server allows.",
  video_too_large: "This video is larger or longer than the server allows.",
  decoding_memory: "This video needs more memory than the server gives to one video.",
  decoding_timeout: "Reading this video took longer than the server allows.",
  // The tokens
  invalid_tokens: TOKENS,
  model_mismatch: "These tokens were made by other weights than the server has now. Encode the video again.",
  token_field: TOKENS,
  token_format: TOKENS,
  token_range: "A code is outside the codebook.",
  token_shape: TOKENS,
  token_syntax: TOKENS,
  too_many_tokens: "These are more tokens than the server takes at once.",
  // The server
  busy: BUSY,
  key_limit: "Your key has reached its limit for now.",
  queue_full: BUSY,
  too_many_connections: BUSY,
  decoders_busy: BUSY,
  deadline_exceeded: "This took longer than the server allows. It may be busy, or the video too long.",
  stage_timeout: "This took longer than the server allows. It may be busy, or the video too long.",
  upload_timeout: "The upload was too slow, or it stopped.",
  decoding_error: BROKEN,
  decoding_stopped: STOPPING,
  decoding_storage: "The server has no disk space left.",
  storage_full: "The server has no disk space left.",
  clip_failed: BROKEN,
  device_error: BROKEN,
  device_lost: BROKEN,
  device_memory: BROKEN,
  engine_error: BROKEN,
  engine_failed: BROKEN,
  internal_error: "The server has made a mistake. It is not your video's fault.",
  draining: STOPPING,
  engine_draining: STOPPING,
  engine_starting: STOPPING,
  engine_unavailable: STOPPING,
  replica_lost: "The server lost the process that worked on this.",
  not_ready: STOPPING,
  // What this page gets right, unless another version of it is in the browser
  content_encoding: PAGE,
  content_type: PAGE,
  cross_origin: "The server does not let pages of other sites send it videos.",
  headers_too_large: PAGE,
  invalid_parameter: PAGE,
  invalid_request: PAGE,
  malformed_request: PAGE,
  method_not_allowed: PAGE,
  multipart: PAGE,
  not_acceptable: PAGE,
  not_found: PAGE,
  unauthorized: "This server needs a key.",
};

/** Begin with a capital, and end with a full stop. */
function sentence(text) {
  const trimmed = text.trim();
  return trimmed && trimmed[0].toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}

/** Return a number of bytes as people read it. */
export function bytes(count) {
  if (count < 1000) return `${count} B`;
  return count < 1e6 ? `${(count / 1e3).toFixed(1)} kB` : `${(count / 1e6).toFixed(2)} MB`;
}

/** Return what a person reads: what it means, what the server says of it, and when to try again. */
export function explain({ code, title, detail, status, limit }, waitSeconds) {
  const meaning = WORDS[code] ?? sentence(title ?? "") ?? "";
  const says = code === "body_too_large" && limit ? `It takes ${bytes(limit)} at most.` : sentence(detail ?? "");
  const parts = [meaning || `The server answered ${status}.`, says];
  if (waitSeconds > 0) parts.push(`Try again in ${waitSeconds} ${waitSeconds === 1 ? "second" : "seconds"}.`);
  return parts.filter(Boolean).join(" ");
}
