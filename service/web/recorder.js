// Recording a few seconds with the camera.

const LONGEST_SECONDS = 10;

const REFUSALS = {
  NotAllowedError: "The camera was not allowed for this page.",
  NotReadableError: "The camera cannot be used. Another program may be using it.",
};

export class Recorder {
  constructor(preview) {
    this.preview = preview;
    this.recorder = null;
  }

  get recording() {
    return this.recorder !== null;
  }

  /** Start to record. The promise resolves with the file when stop() is called or the time is over. */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) {
      throw new Error("This browser gives the page no camera. A page needs https, or localhost, for it.");
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 640 }, audio: false });
    } catch (error) {
      throw new Error(REFUSALS[error.name] ?? "No camera was found.");
    }
    this.preview.srcObject = stream;
    this.preview.hidden = false;
    await this.preview.play().catch(() => {});
    const parts = [];
    // H.264 in MP4 has a duration in its header; Chrome's WebM has none. Both are read by the service.
    const type = ["video/mp4;codecs=avc1", "video/mp4", "video/webm"].find((each) => MediaRecorder.isTypeSupported(each));
    const recorder = new MediaRecorder(stream, type ? { mimeType: type } : {});
    this.recorder = recorder;
    const done = new Promise((resolve) => {
      recorder.ondataavailable = (event) => event.data.size && parts.push(event.data);
      recorder.onstop = () => {
        for (const track of stream.getTracks()) track.stop();
        this.preview.srcObject = null;
        this.preview.hidden = true;
        this.recorder = null;
        const plain = (recorder.mimeType || "video/webm").split(";")[0];
        resolve(new File(parts, plain === "video/mp4" ? "camera.mp4" : "camera.webm", { type: plain }));
      };
    });
    recorder.start();
    setTimeout(() => this.stop(), LONGEST_SECONDS * 1000);
    return done;
  }

  stop() {
    if (this.recorder?.state === "recording") this.recorder.stop();
  }
}
