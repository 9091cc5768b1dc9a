// Plays samples as they arrive. Knows nothing of where they come from.
//
// In an AudioWorklet; where the browser has none (pages over plain http from another machine),
// piece by piece with the clock of the sound card. Events: begin, place, gap, over.

import { toFloats } from "./pcm.js";

const AGAIN = 0.2; // seconds to gather at first, and after running dry

export class Player extends EventTarget {
  #context = null;
  #out = null;
  #making = null;

  place = 0; // samples that were heard
  gaps = 0;

  /** Begin anew. To be called while a key or button is pressed: browsers want that. */
  open(rate) {
    this.stop();
    if (this.#context?.sampleRate !== rate) {
      this.#context?.close();
      this.#context = new AudioContext({ sampleRate: rate });
      this.#making = null;
    }
    this.#context.resume();
    this.#making ??= this.#context.audioWorklet
      ? this.#context.audioWorklet.addModule("/page/js/worklet.js")
      : Promise.resolve();
    const context = this.#context;
    const out = (this.#out = context.audioWorklet
      ? new InThread(context, this.#making)
      : new ByClock(context));
    this.place = this.gaps = 0;
    out.told = ({ kind, place, gaps }) => {
      if (out !== this.#out) return;
      Object.assign(this, { place, gaps });
      this.dispatchEvent(new Event(kind));
    };
  }

  feed(data) {
    this.#out?.feed(toFloats(data));
  }

  end() {
    this.#out?.end();
  }

  /** Go on from a place: what is to be heard from there has to be fed again. */
  seek(place) {
    this.place = place;
    this.#out?.seek(place);
  }

  stop() {
    this.#out?.close();
    this.#out = null;
  }

  get ready() {
    return this.#out !== null;
  }

  pause() {
    this.#context?.suspend();
  }

  resume() {
    this.#context?.resume();
  }
}

class InThread {
  constructor(context, making) {
    this.waiting = []; // until the module is there
    making.then(() => this.begin(context));
  }

  begin(context) {
    if (!this.waiting) return;
    this.node = new AudioWorkletNode(context, "higgs-player", {
      ...{ numberOfInputs: 0, outputChannelCount: [1] },
      processorOptions: { again: AGAIN * context.sampleRate },
    });
    this.node.port.onmessage = ({ data }) => this.told(data);
    this.node.connect(context.destination);
    const waiting = this.waiting;
    this.waiting = null;
    for (const message of waiting) this.send(message);
  }

  send(message) {
    if (this.waiting) this.waiting.push(message);
    else this.node?.port.postMessage(message, message.data ? [message.data.buffer] : []);
  }

  feed(data) {
    this.send({ kind: "feed", data });
  }

  end() {
    this.send({ kind: "end" });
  }

  seek(place) {
    this.send({ kind: "seek", place });
  }

  close() {
    this.waiting = null;
    this.node?.disconnect();
    this.node = null;
  }
}

class ByClock {
  constructor(context) {
    this.context = context;
    this.seek(0);
    this.timer = setInterval(() => this.look(), 40);
    this.gaps = 0;
  }

  feed(data) {
    const { context } = this;
    const buffer = context.createBuffer(1, data.length, context.sampleRate);
    buffer.copyToChannel(data, 0);
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(context.destination);
    const dry = this.next < context.currentTime;
    if (dry && this.begun) this.gaps += 1;
    const at = dry ? context.currentTime + 0.05 : this.next;
    source.start(at);
    this.sources.push({ source, at, place: this.fed, length: data.length });
    this.next = at + data.length / context.sampleRate;
    this.fed += data.length;
  }

  end() {
    this.ended = true;
  }

  seek(place) {
    for (const { source } of this.sources ?? []) source.stop();
    Object.assign(this, { sources: [], next: 0, fed: place, place });
    Object.assign(this, { ended: false, over: false, begun: false });
  }

  look() {
    const now = this.context.currentTime;
    const heard = this.sources.findLast(({ at }) => at <= now);
    if (!heard || this.over) return;
    const inside = Math.floor((now - heard.at) * this.context.sampleRate);
    this.place = heard.place + Math.min(heard.length, inside);
    this.tell(this.begun ? "place" : "begin");
    this.begun = true;
    if (this.ended && this.place >= this.fed) {
      this.over = true;
      this.tell("over");
    }
  }

  tell(kind) {
    this.told({ kind, place: this.place, gaps: this.gaps });
  }

  close() {
    clearInterval(this.timer);
    this.seek(0);
  }
}
