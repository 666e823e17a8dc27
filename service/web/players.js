// Two videos that play in step: the original leads, and the reconstruction follows.

const DRIFT_SECONDS = 0.06; // half a frame at 8 frames a second: less cannot be seen

const CALM = matchMedia("(prefers-reduced-motion: reduce)");

export class Players {
  constructor(original, reconstruction, { play, time }) {
    this.original = original;
    this.reconstruction = reconstruction;
    this.playButton = play;
    this.timeInput = time;
    this.urls = new Map();
    play.addEventListener("click", () => (original.paused ? this.play() : this.pause()));
    time.addEventListener("input", () => {
      this.pause();
      this.seek(Number(time.value) * (original.duration || 0));
    });
    original.addEventListener("seeked", () => this.follow(true));
    for (const event of ["play", "pause"]) original.addEventListener(event, () => this.label());
    const tick = () => {
      this.follow(false);
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  label() {
    this.playButton.textContent = this.original.paused ? "Play" : "Pause";
  }

  follow(exactly) {
    const { original, reconstruction } = this;
    if (!original.duration || !reconstruction.duration) return;
    if (!original.paused) this.timeInput.value = String(original.currentTime / original.duration);
    const time = `${original.currentTime.toFixed(1)} of ${original.duration.toFixed(1)} seconds`;
    if (this.timeInput.getAttribute("aria-valuetext") !== time) this.timeInput.setAttribute("aria-valuetext", time);
    const drift = Math.abs(reconstruction.currentTime - original.currentTime);
    if ((exactly || drift > DRIFT_SECONDS) && !reconstruction.seeking && drift > 0.001) {
      reconstruction.currentTime = Math.min(original.currentTime, reconstruction.duration);
    }
  }

  /** Play what was just shown, unless the person asked their system for less motion. */
  begin() {
    if (CALM.matches) this.label();
    else this.play();
  }

  async play() {
    // A browser may refuse to play before the first click. The Play button then works.
    await Promise.allSettled([this.original.play(), this.reconstruction.play()]);
    this.label();
  }

  pause() {
    this.original.pause();
    this.reconstruction.pause();
  }

  seek(seconds) {
    this.original.currentTime = seconds;
  }

  /** Show a blob in one of the two elements. `half` is "left", "right" or "" for a file of one picture. */
  show(element, blob, half) {
    const old = this.urls.get(element);
    const url = URL.createObjectURL(blob);
    this.urls.set(element, url);
    element.classList.toggle("left", half === "left");
    element.classList.toggle("right", half === "right");
    element.src = url;
    if (old) URL.revokeObjectURL(old);
  }
}
