// Plays what it is given in the thread of the sound card, and records what it hears. Knows no page.

const REPORT = 1024; // samples between two reports of the place

/** A ring of samples, made larger when more is waiting than it holds. */
class Ring {
  constructor() {
    this.kept = new Float32Array(1 << 18);
    this.clear();
  }

  clear() {
    this.begin = 0;
    this.waiting = 0;
  }

  write(data) {
    if (this.waiting + data.length > this.kept.length) this.grow(this.waiting + data.length);
    const size = this.kept.length;
    const place = (this.begin + this.waiting) % size;
    const fits = Math.min(data.length, size - place);
    this.kept.set(data.subarray(0, fits), place);
    this.kept.set(data.subarray(fits), 0);
    this.waiting += data.length;
  }

  /** Fill what is given as far as there is sound; how far that was. */
  read(into) {
    const count = Math.min(into.length, this.waiting);
    const fits = Math.min(count, this.kept.length - this.begin);
    into.set(this.kept.subarray(this.begin, this.begin + fits));
    into.set(this.kept.subarray(0, count - fits), fits);
    this.begin = (this.begin + count) % this.kept.length;
    this.waiting -= count;
    return count;
  }

  grow(least) {
    let size = this.kept.length;
    while (size < least) size *= 2;
    const larger = new Float32Array(size);
    const waiting = this.waiting;
    this.read(larger.subarray(0, waiting));
    this.kept = larger;
    this.begin = 0;
    this.waiting = waiting;
  }
}

class Player extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.again = processorOptions.again; // samples to wait for at first, and after running dry
    this.ring = new Ring();
    this.place = this.reported = this.gaps = 0;
    this.ended = this.begun = this.over = false;
    this.dry = true;
    this.port.onmessage = ({ data }) => this.take(data);
  }

  take({ kind, data, place }) {
    if (kind === "feed") this.ring.write(data);
    if (kind === "end") this.ended = true;
    if (kind === "seek") {
      this.ring.clear();
      Object.assign(this, { place, reported: place, over: false, ended: false, dry: false });
    }
  }

  process(_, [[into]]) {
    const { ring } = this;
    if (this.dry && (this.ended || ring.waiting >= this.again)) this.dry = false;
    const count = this.dry ? 0 : ring.read(into);
    this.place += count;
    if (count && !this.begun) this.tell("begin", (this.begun = true));
    if (count < into.length && !this.over && this.begun) this.short();
    if (this.place - this.reported >= REPORT) this.tell("place", (this.reported = this.place));
    return true;
  }

  /** The ring has run out: the end, or a gap. */
  short() {
    if (this.ended && !this.ring.waiting) {
      this.over = true;
      this.tell("over");
    } else if (!this.dry) {
      this.dry = true;
      this.gaps += 1;
      this.tell("gap");
    }
  }

  tell(kind) {
    this.port.postMessage({ kind, place: this.place, gaps: this.gaps });
  }
}

class Recorder extends AudioWorkletProcessor {
  process([heard]) {
    if (heard.length) this.port.postMessage(heard.slice());
    return true;
  }
}

registerProcessor("higgs-player", Player);
registerProcessor("higgs-recorder", Recorder);
