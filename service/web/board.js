// The tokens of one clip as a picture: a grid for each latent frame, and a stable colour for each code.

const CELL = 15; // pixels of a cell, less where the window is narrow
const GAP = 10; // pixels between two grids
const MOST_UNDONE = 100; // changes that can be taken back

/** Return the colour of a code. Neighbouring codes get hues that lie far apart (steps of the golden angle). */
export function colour(code) {
  const hue = (code * 137.508) % 360;
  const light = 38 + ((code * 0.618034) % 1) * 34;
  return `hsl(${hue} 62% ${light}%)`;
}

export class Board {
  /**
   * handlers: {changed(), described(text), picked(code), tool(), code(), through()}
   */
  constructor(canvas, handlers) {
    this.canvas = canvas;
    this.handlers = handlers;
    this.tokens = null;
    this.clip = 0;
    this.at = { t: 0, row: 0, column: 0 };
    this.region = null; // {height, width, pictures: [[codes]]}: what "Copy a region" took; it outlives the video
    this.corner = null; // where a drag began
    this.undoable = [];
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#release(event));
    canvas.addEventListener("pointercancel", () => (this.corner = null));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("focus", () => this.draw());
    canvas.addEventListener("blur", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
  }

  /** Show the tokens of another video. */
  load(tokens) {
    this.tokens = tokens;
    this.clip = 0;
    this.at = { t: 0, row: 0, column: 0 };
    this.undoable = [];
    this.draw();
  }

  select(clip) {
    this.clip = clip;
    this.draw();
  }

  get size() {
    const [, T, H, W] = this.tokens.shape;
    return { T, H, W };
  }

  get codes() {
    return this.tokens.indices[this.clip];
  }

  index({ t, row, column }) {
    const { H, W } = this.size;
    return (t * H + row) * W + column;
  }

  #layout() {
    const { T, H, W } = this.size;
    const room = this.canvas.parentElement.clientWidth - 12; // its padding
    const least = room < 600 ? 8 : 12; // a cell on a phone, and one on a larger window
    const most = Math.max(1, Math.min(T, Math.floor((room + GAP) / (W * least + GAP))));
    const columns = Math.ceil(T / Math.ceil(T / most)); // rows of equal length, where that is possible
    const cell = Math.max(5, Math.min(CELL, Math.floor((room - GAP * (columns - 1)) / (columns * W))));
    return { columns, cell, rows: Math.ceil(T / columns), T, H, W };
  }

  draw() {
    if (!this.tokens || !this.canvas.parentElement.clientWidth) return;
    const { columns, cell, rows, T, H, W } = this.#layout();
    const width = columns * W * cell + (columns - 1) * GAP;
    const height = rows * H * cell + (rows - 1) * GAP;
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = width * scale;
    this.canvas.height = height * scale;
    this.canvas.style.width = `${width}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    const chosen = this.codes[this.index(this.at)];
    for (let t = 0; t < T; t++) {
      for (let row = 0; row < H; row++) {
        for (let column = 0; column < W; column++) {
          const code = this.codes[this.index({ t, row, column })];
          const [x, y] = this.#corner({ t, row, column });
          pen.fillStyle = colour(code);
          pen.fillRect(x, y, cell, cell);
          if (code === chosen) this.#outline(pen, x, y, cell, cell, 1.5);
        }
      }
    }
    const [x, y] = this.#corner(this.at);
    this.#outline(pen, x - 1, y - 1, cell + 2, cell + 2, 3);
    if (this.corner) {
      const box = this.#box();
      const [left, top] = this.#corner({ t: this.at.t, row: box.top, column: box.left });
      this.#outline(pen, left, top, box.width * cell, box.height * cell, 2);
    }
  }

  // Black beside white is seen on every colour, in light and in dark mode.
  #outline(pen, x, y, width, height, thick) {
    pen.strokeStyle = "#000";
    pen.lineWidth = thick + 1.5;
    pen.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
    pen.strokeStyle = "#fff";
    pen.lineWidth = thick;
    pen.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
  }

  #corner({ t, row, column }) {
    const { columns, cell, H, W } = this.#layout();
    return [
      (t % columns) * (W * cell + GAP) + column * cell,
      Math.floor(t / columns) * (H * cell + GAP) + row * cell,
    ];
  }

  #cellAt(event) {
    const { columns, cell, T, H, W } = this.#layout();
    const bounds = this.canvas.getBoundingClientRect();
    const ratio = parseFloat(this.canvas.style.width) / bounds.width;
    const x = (event.clientX - bounds.left) * ratio;
    const y = (event.clientY - bounds.top) * ratio;
    const across = Math.floor(x / (W * cell + GAP));
    const down = Math.floor(y / (H * cell + GAP));
    const column = Math.floor((x - across * (W * cell + GAP)) / cell);
    const row = Math.floor((y - down * (H * cell + GAP)) / cell);
    const t = down * columns + across;
    const inside = x >= 0 && y >= 0 && across < columns && t < T && column < W && row < H;
    return inside ? { t, row, column } : null;
  }

  #go(at) {
    this.at = at;
    const code = this.codes[this.index(at)];
    const held = this.tokens.indices.map((codes) => codes.reduce((sum, each) => sum + (each === code), 0));
    const others = held[this.clip] - 1;
    const places = others === 1 ? "1 other place holds it" : `${others || "no"} other places hold it`;
    const elsewhere = held.reduce((sum, each) => sum + each, 0) - held[this.clip];
    const beyond = held.length > 1 ? `, ${elsewhere || "none"} in the other clips` : "";
    this.handlers.described(
      `Code ${code} in picture ${at.t + 1}, row ${at.row + 1}, column ${at.column + 1}; ${places} in this clip${beyond}.`,
    );
    this.draw();
  }

  #box() {
    const { H, W } = this.size;
    const [a, b] = [this.corner, this.at];
    const top = Math.min(a.row, b.row);
    const left = Math.min(a.column, b.column);
    return {
      top,
      left,
      height: Math.min(H, Math.abs(a.row - b.row) + 1),
      width: Math.min(W, Math.abs(a.column - b.column) + 1),
    };
  }

  #press(event) {
    const at = this.tokens && this.#cellAt(event);
    if (!at) return;
    this.canvas.setPointerCapture(event.pointerId);
    if (this.handlers.tool() === "copy") this.corner = at;
    this.#go(at);
    if (this.handlers.tool() !== "copy") this.#use(true);
  }

  #move(event) {
    const at = this.tokens && this.#cellAt(event);
    if (!at) return;
    if (this.corner && at.t !== this.corner.t) return;
    const same = at.t === this.at.t && at.row === this.at.row && at.column === this.at.column;
    if (same) return;
    this.#go(at);
    if (event.buttons && this.handlers.tool() === "paint") this.#use(false);
  }

  #release() {
    if (!this.corner) return;
    this.#copy();
  }

  #key(event) {
    if (!this.tokens) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "z") {
      event.preventDefault();
      this.undo();
      return;
    }
    const { T, H, W } = this.size;
    const { t, row, column } = this.at;
    const moves = {
      ArrowLeft: { t, row, column: Math.max(0, column - 1) },
      ArrowRight: { t, row, column: Math.min(W - 1, column + 1) },
      ArrowUp: { t, row: Math.max(0, row - 1), column },
      ArrowDown: { t, row: Math.min(H - 1, row + 1), column },
      PageUp: { t: Math.max(0, t - 1), row, column },
      PageDown: { t: Math.min(T - 1, t + 1), row, column },
      Home: { t, row: 0, column: 0 },
      End: { t, row: H - 1, column: W - 1 },
    };
    if (moves[event.key]) {
      event.preventDefault();
      if (this.corner && moves[event.key].t !== this.corner.t) return;
      this.#go(moves[event.key]);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      if (this.handlers.tool() !== "copy") this.#use(true);
      else if (this.corner) this.#copy();
      else {
        this.corner = this.at;
        this.handlers.described("Move to the opposite corner of the region, and press Enter again.");
      }
    } else if (event.key === "Escape" && this.corner) {
      this.corner = null;
      this.draw();
    }
  }

  // `first` tells the start of a stroke from its continuation: one stroke is undone at once.
  #use(first) {
    const tool = this.handlers.tool();
    const code = this.codes[this.index(this.at)];
    if (tool === "pick") this.handlers.picked(code);
    if (tool === "paint") {
      if (first) this.#remember();
      for (const t of this.#pictures()) this.codes[this.index({ ...this.at, t })] = this.handlers.code();
      this.#changed();
    }
    if (tool === "paste") this.#paste();
  }

  #pictures() {
    const { T } = this.size;
    return this.handlers.through() ? Array.from({ length: T }, (_, t) => t) : [this.at.t];
  }

  #copy() {
    const box = this.#box();
    const { T } = this.size;
    this.region = {
      height: box.height,
      width: box.width,
      from: this.at.t,
      pictures: Array.from({ length: T }, (_, t) =>
        Array.from({ length: box.height * box.width }, (_, n) =>
          this.codes[this.index({ t, row: box.top + Math.floor(n / box.width), column: box.left + (n % box.width) })],
        ),
      ),
    };
    this.corner = null;
    this.handlers.described(`Copied ${box.height} by ${box.width} codes. Choose "Paste the region" and a place.`);
    this.draw();
  }

  #paste() {
    if (!this.region) {
      this.handlers.described('Nothing has been copied yet. Choose "Copy a region" and drag over some cells.');
      return;
    }
    this.#remember();
    const { H, W } = this.size;
    const through = this.handlers.through();
    for (const t of this.#pictures()) {
      const picture = this.region.pictures[through ? Math.min(t, this.region.pictures.length - 1) : this.region.from];
      for (let n = 0; n < picture.length; n++) {
        const row = this.at.row + Math.floor(n / this.region.width);
        const column = this.at.column + (n % this.region.width);
        if (row < H && column < W) this.codes[this.index({ t, row, column })] = picture[n];
      }
    }
    this.#changed();
  }

  #remember() {
    this.undoable.push({ clip: this.clip, codes: this.codes.slice() });
    if (this.undoable.length > MOST_UNDONE) this.undoable.shift();
  }

  /** Take the last change back. Returns the number of its clip. */
  undo() {
    const last = this.undoable.pop();
    if (!last) return this.clip;
    this.tokens.indices[last.clip].set(last.codes);
    this.clip = last.clip;
    this.#changed();
    return last.clip;
  }

  #changed() {
    this.#go(this.at);
    this.handlers.changed();
  }
}
