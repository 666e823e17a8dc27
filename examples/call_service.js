// Call the service from JavaScript, in a browser or in Node.js 18 or newer. It needs no package.
//
//   node examples/call_service.js http://127.0.0.1:8000 clip.mp4 reconstruction.mp4
//
// Where the service asks for keys, put yours into the environment variable CVIVIT_KEY. From a page of another origin
// the service has to allow that origin: CVIVIT_CORS_ORIGINS.

/** A failed request. `code` is stable: https://www.rfc-editor.org/rfc/rfc9457 describes the rest. */
class ServiceError extends Error {
  constructor(status, { title, detail, code } = {}) {
    super([title, detail].filter(Boolean).join(": ") || `the service answered ${status}`);
    Object.assign(this, { status, code });
  }
}

/** Send one request, and return the answer if it succeeded. `url` may have a path, where a proxy adds one. */
async function call(url, path, { key, ...request } = {}) {
  const headers = { ...request.headers, ...(key ? { authorization: `Bearer ${key}` } : {}) };
  const response = await fetch(`${url.replace(/\/+$/, "")}/${path}`, { ...request, headers });
  if (!response.ok) throw new ServiceError(response.status, await response.json().catch(() => ({})));
  return response;
}

/** Return {model, shape, frames, fps, indices} of a video, which is a Blob or a File. */
async function encode(url, video, { key, fit = "crop" } = {}) {
  const response = await call(url, `encode?fit=${fit}`, {
    key,
    method: "POST",
    body: video,
    headers: { "content-type": "application/octet-stream", accept: "application/json" },
  });
  return response.json();
}

/** Return the MP4 of tokens as a Blob. Only `indices` is required: [clips][T][H][W], or [T][H][W] for one clip. */
async function decode(url, tokens, { key } = {}) {
  const response = await call(url, "decode", {
    key,
    method: "POST",
    body: JSON.stringify(tokens),
    headers: { "content-type": "application/json", accept: "video/mp4" },
  });
  return response.blob();
}

async function main(url, source, target) {
  const { readFile, writeFile } = await import("node:fs/promises");
  const key = process.env.CVIVIT_KEY;
  const tokens = await encode(url, new Blob([await readFile(source)]), { key });
  console.log(`${tokens.frames} frames are ${tokens.shape.join(" x ")} tokens of model ${tokens.model.slice(0, 12)}`);
  const video = await decode(url, tokens, { key });
  await writeFile(target, Buffer.from(await video.arrayBuffer()));
  console.log(`wrote ${target}: ${video.size} bytes`);
}

if (typeof process !== "undefined" && process.argv?.[1]?.endsWith("call_service.js")) {
  if (process.argv.length !== 5) {
    console.error("usage: node call_service.js URL VIDEO OUTPUT.mp4");
    process.exitCode = 2;
  } else {
    main(...process.argv.slice(2)).catch((error) => {
      console.error(error.code ? `${error.code}: ${error.message}` : (error.cause ?? error).message);
      process.exitCode = 1;
    });
  }
}
